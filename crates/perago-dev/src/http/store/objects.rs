//! Reads, lists and deletions of objects.

use std::ops::Range;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;

use super::object_store::{Purpose, sign};
use super::parameters::{JsonBody, Query};
use super::reading::{Wanted, wanted};
use super::reply::{Reply, common_prefix, created, nothing, object, ok, page};
use super::uploads::{new_key, upload};
use crate::shared::Shared;
use crate::storage::ReadBlob;
use crate::store::{Entry, Row, Store, StoreError, StoredObject, bytes_of};

/// Content types that a browser may show.
const SHOWN: [&str; 22] = [
    "image/jpeg",
    "image/jpg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/svg+xml",
    "application/pdf",
    "text/plain",
    "text/markdown",
    "text/x-markdown",
    "text/html",
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/json",
    "application/xml",
    "text/xml",
    "video/mp4",
    "video/webm",
    "audio/mpeg",
    "audio/wav",
    "audio/webm",
];

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/repositories/{repository}/refs/{reference}/objects", get(read))
        .route("/repositories/{repository}/refs/{reference}/objects/ls", get(list))
        .route("/repositories/{repository}/refs/{reference}/objects/stat", get(stat))
        .route(
            "/repositories/{repository}/branches/{branch}/objects",
            post(upload).delete(delete).put(async || {
                Err::<Response, _>(StoreError::unsupported("the deprecated staging of objects by address"))
            }),
        )
        .route("/repositories/{repository}/branches/{branch}/objects/delete", post(delete_many))
        .route("/repositories/{repository}/branches/{branch}/objects/copy", post(copy))
        .route("/repositories/{repository}/branches/{branch}/objects/stat/user_metadata", put(set_metadata))
}

type Two = Path<(String, String)>;

/// Refuses to sign URLs where the object store does not.
fn refuse_to_sign(shared: &Shared) -> Result<(), StoreError> {
    if shared.storage().kind().signs() {
        return Ok(());
    }
    Err(StoreError::invalid("local adapter presigned URL: operation not supported"))
}

async fn list(
    State(shared): State<Shared>,
    Path((repository, reference)): Two,
    headers: HeaderMap,
    query: Query,
) -> Reply {
    let request = query.page()?;
    let (presign, metadata) =
        (query.flag("presign")?.unwrap_or(false), query.flag("user_metadata")?.unwrap_or(true));
    let rows = shared.storage().read(|store| store.list(&repository, &reference, &request))?;
    if presign && rows.rows.iter().any(|row| matches!(row, Row::Item(_))) {
        refuse_to_sign(&shared)?;
    }
    page(rows, |row| match row {
        Row::Prefix(path) => common_prefix(&path),
        Row::Item((path, entry)) => {
            let mut shown = object(&path, &entry, metadata && !entry.metadata.is_empty());
            if presign {
                let purpose = Purpose::Read { path: &path };
                let (url, expiry) = sign(&shared, &headers, bytes_of(&entry.address), &purpose);
                shown["physical_address"] = json!(url);
                shown["physical_address_expiry"] = json!(expiry);
            }
            shown
        }
    })
}

async fn stat(
    State(shared): State<Shared>,
    Path((repository, reference)): Two,
    headers: HeaderMap,
    query: Query,
) -> Reply {
    let path = query.required("path")?;
    let with_metadata = query.flag("user_metadata")?.unwrap_or(true);
    let entry = shared.storage().read(|store| store.entry(&repository, &reference, path))?;
    let mut shown = object(path, &entry, true);
    if !with_metadata {
        shown["metadata"] = json!({});
    }
    if query.flag("presign")?.unwrap_or(false) {
        refuse_to_sign(&shared)?;
        let (url, expiry) = sign(&shared, &headers, bytes_of(&entry.address), &Purpose::Read { path });
        shown["physical_address"] = json!(url);
        shown["physical_address_expiry"] = json!(expiry);
    }
    ok(&shown)
}

/// The stored bytes of an entry, linked or uploaded.
fn stored(store: &Store, entry: &Entry) -> Option<StoredObject> {
    store.object(&entry.address).or_else(|| store.object(bytes_of(&entry.address))).cloned()
}

async fn read(
    State(shared): State<Shared>,
    Path((repository, reference)): Two,
    method: Method,
    headers: HeaderMap,
    query: Query,
) -> Reply {
    let path = query.required("path")?;
    let is_head = method == Method::HEAD;
    let (entry, stored) = shared.storage().read(|store| {
        let entry = store.entry(&repository, &reference, path)?;
        let stored = stored(store, &entry);
        Ok::<_, StoreError>((entry, stored))
    })?;
    let tag = format!("\"{}\"", entry.checksum);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    if !is_head && query.flag("presign")?.unwrap_or(false) {
        refuse_to_sign(&shared)?;
        let (url, _) = sign(&shared, &headers, bytes_of(&entry.address), &Purpose::Read { path });
        return Ok((StatusCode::FOUND, [(header::LOCATION, url), (header::CONTENT_LENGTH, "0".into())])
            .into_response());
    }
    let range = headers.get(header::RANGE).map(|value| value.to_str().unwrap_or("?"));
    let mut response = match wanted(range, entry.size) {
        Wanted::Malformed(reason) => {
            let message = format!("parameter \"Range\" in header has an error: {reason}");
            return Err(StoreError::invalid(message));
        }
        Wanted::EndOfNothing => StoreError::new(500, "bad index").into_response(),
        Wanted::Unsatisfiable { tells_size } => unsatisfiable(is_head, tells_size, &entry),
        Wanted::Whole => body(&shared, &entry, stored.as_ref(), &(0..entry.size), is_head),
        Wanted::Part(range) => {
            let mut response = body(&shared, &entry, stored.as_ref(), &range, is_head);
            if response.status() == StatusCode::OK {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let shown = format!("bytes {}-{}/{}", range.start, range.end - 1, entry.size);
                put_header(&mut response, header::CONTENT_RANGE, &shown);
            }
            response
        }
    };
    describe(&mut response, &entry, &tag, is_head);
    Ok(response)
}

fn unsatisfiable(is_head: bool, tells_size: bool, entry: &Entry) -> Response {
    if is_head {
        let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        put_header(&mut response, header::CONTENT_TYPE, &entry.content_type);
        return response;
    }
    let mut response = StoreError::new(416, "Requested Range Not Satisfiable").into_response();
    if tells_size {
        put_header(&mut response, header::CONTENT_RANGE, &format!("bytes */{}", entry.size));
    }
    response
}

/// The bytes of a range, or their absence.
fn body(
    shared: &Shared,
    entry: &Entry,
    stored: Option<&StoredObject>,
    range: &Range<u64>,
    is_head: bool,
) -> Response {
    let mut response = if is_head {
        Response::new(Body::empty())
    } else {
        let blobs = stored.and_then(|object| shared.storage().blobs().open_object(object));
        match blobs {
            Some(blobs) => Response::new(Body::new(ReadBlob::new(blobs, range))),
            None => return StoreError::new(410, "No data").into_response(),
        }
    };
    put_header(&mut response, header::CONTENT_TYPE, &entry.content_type);
    put_header(&mut response, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    response
}

/// The headers that every answer about an object has.
fn describe(response: &mut Response, entry: &Entry, tag: &str, is_head: bool) {
    put_header(response, header::ETAG, tag);
    put_header(response, header::LAST_MODIFIED, &http_date(entry.mtime));
    put_header(response, header::CACHE_CONTROL, "no-store, must-revalidate");
    if is_head {
        put_header(response, header::ACCEPT_RANGES, "bytes");
    } else {
        let shown = SHOWN.contains(&entry.content_type.as_str());
        let disposition = if shown { "inline" } else { "attachment" };
        put_header(response, header::CONTENT_DISPOSITION, disposition);
    }
}

pub(super) fn put_header(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A time as HTTP writes it.
pub(super) fn http_date(seconds: i64) -> String {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&form).unwrap_or_default()
}

async fn delete(State(shared): State<Shared>, Path((repository, branch)): Two, query: Query) -> Reply {
    let path = query.required("path")?;
    shared.storage().change(|store, _| store.delete_object(&repository, &branch, path))?;
    nothing()
}

async fn delete_many(State(shared): State<Shared>, Path((repository, branch)): Two, body: JsonBody) -> Reply {
    let fields = body.fields("PathList")?;
    let paths = fields.array("paths")?.iter().enumerate().map(|(index, path)| {
        let path = path.as_str().map(str::to_owned);
        path.ok_or_else(|| fields.wrong(&format!("paths/{index}"), "value must be a string"))
    });
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    let storage = shared.storage();
    let errors = storage.change(|store, _| store.delete_objects(&repository, &branch, &paths))?;
    ok(&json!({ "errors": errors }))
}

async fn copy(
    State(shared): State<Shared>,
    Path((repository, branch)): Two,
    query: Query,
    body: JsonBody,
) -> Reply {
    let destination = query.required("dest_path")?;
    let fields = body.fields("ObjectCopyCreation")?;
    if fields.flag("shallow")? {
        return Err(StoreError::new(501, "Not Implemented"));
    }
    let source = (fields.optional_text("src_ref")?.unwrap_or(&branch), fields.text("src_path")?);
    let entry = shared.storage().change(|store, now| {
        let address = store.new_address(&repository, &new_key())?;
        store.copy(&repository, &branch, destination, source, (&address, now))
    })?;
    created(&object(destination, &entry, true))
}

async fn set_metadata(
    State(shared): State<Shared>,
    Path((repository, branch)): Two,
    query: Query,
    body: JsonBody,
) -> Reply {
    let path = query.required("path")?;
    let metadata = body.fields("UpdateObjectUserMetadata")?.texts("set")?;
    shared.storage().change(|store, _| store.set_metadata(&repository, &branch, path, metadata))?;
    nothing()
}
