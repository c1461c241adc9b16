//! Direct uploads: addresses, links, and uploads in parts.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post, put};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use uuid::Uuid;

use super::object_store::{Purpose, sign};
use super::parameters::{JsonBody, Query};
use super::reply::{Reply, created, nothing, object, ok};
use super::uploads::{condition, new_key};
use crate::shared::Shared;
use crate::store::{Link, PartReference, StoreError, bytes_of, hexadecimal};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/repositories/{repository}/branches/{branch}/staging/backing", get(address).put(link))
        .route("/repositories/{repository}/branches/{branch}/staging/pmpu", post(start))
        .route(
            "/repositories/{repository}/branches/{branch}/staging/pmpu/{upload}",
            put(complete).delete(abort),
        )
        .route(
            "/repositories/{repository}/branches/{branch}/staging/pmpu/{upload}/parts/{number}",
            put(part_url),
        )
}

type Two = Path<(String, String)>;
type Three = Path<(String, String, String)>;

async fn address(
    State(shared): State<Shared>,
    Path((repository, branch)): Two,
    headers: HeaderMap,
    query: Query,
) -> Reply {
    let path = query.required("path")?;
    let key = new_key();
    let signed = shared.storage().read(|store| store.signed_address((&repository, &branch, path), &key))?;
    if !query.flag("presign")?.unwrap_or(false) {
        return ok(&json!({"physical_address": signed, "presigned_url": null}));
    }
    if !shared.storage().kind().signs() {
        return Err(StoreError::new(500, "local adapter presigned URL: operation not supported"));
    }
    let (url, expiry) = sign(&shared, &headers, bytes_of(&signed), &Purpose::Write);
    ok(&json!({"physical_address": signed, "presigned_url": url, "presigned_url_expiry": expiry}))
}

async fn link(
    State(shared): State<Shared>,
    Path((repository, branch)): Two,
    headers: HeaderMap,
    query: Query,
    body: JsonBody,
) -> Reply {
    let path = query.required("path")?;
    let fields = body.fields("StagingMetadata")?;
    let staging = fields.object("staging", "StagingLocation")?;
    let size = u64::try_from(fields.number("size_bytes")?)
        .map_err(|_| fields.wrong("size_bytes", "number must be at least 0"))?;
    let link = Link {
        address: staging.optional_text("physical_address")?.unwrap_or_default().to_owned(),
        checksum: fields.text("checksum")?.to_owned(),
        size,
        content_type: content_type(fields.optional_text("content_type")?),
        metadata: fields.texts("user_metadata")?,
        mtime: fields.optional_number("mtime")?,
        only_if_absent: condition(&headers)?,
    };
    let entry = shared.storage().change(|store, now| store.link(&repository, &branch, path, link, now))?;
    ok(&object(path, &entry, true))
}

fn content_type(given: Option<&str>) -> String {
    given.filter(|given| !given.is_empty()).unwrap_or("application/octet-stream").to_owned()
}

/// Refuses uploads in parts where the object store takes none.
fn demand_parts(shared: &Shared) -> Result<(), StoreError> {
    if shared.storage().kind().signs() {
        return Ok(());
    }
    Err(StoreError::new(501, "presign multipart upload API is not supported"))
}

async fn start(
    State(shared): State<Shared>,
    Path((repository, branch)): Two,
    headers: HeaderMap,
    query: Query,
) -> Reply {
    demand_parts(&shared)?;
    let path = query.required("path")?;
    let parts = query.number("parts")?.unwrap_or(0);
    let parts =
        usize::try_from(parts).map_err(|_| StoreError::invalid("parts can be between 0 and 10000"))?;
    let (upload, key) = (Uuid::new_v4().simple().to_string(), new_key());
    let place = (repository.as_str(), branch.as_str(), path);
    let signed = shared.storage().change(|store, _| store.start_upload(place, parts, (&upload, &key)))?;
    let mut answer = json!({"physical_address": signed, "upload_id": upload});
    if parts > 0 {
        let urls = (1..=parts).map(|number| {
            let purpose = Purpose::Part { upload: &upload, number };
            sign(&shared, &headers, bytes_of(&signed), &purpose).0
        });
        answer["presigned_urls"] = urls.collect();
    }
    created(&answer)
}

async fn part_url(
    State(shared): State<Shared>,
    Path((repository, branch, upload, number)): Path<(String, String, String, String)>,
    headers: HeaderMap,
    query: Query,
    body: JsonBody,
) -> Reply {
    demand_parts(&shared)?;
    let path = query.required("path")?;
    let refused = |reason: &str| {
        StoreError::invalid(format!("parameter \"partNumber\" in path has an error: {reason}"))
    };
    let number = number.parse().map_err(|_| refused(&format!("value {number}: an invalid integer")))?;
    if number < 1 {
        return Err(refused("number must be at least 1"));
    }
    let fields = body.fields("UploadPartFrom")?;
    let given = fields.text("physical_address")?;
    let place = (repository.as_str(), branch.as_str(), path);
    let address = shared.storage().read(|store| store.part_address(place, given, &upload))?;
    let purpose = Purpose::Part { upload: &upload, number };
    ok(&json!({"presigned_url": sign(&shared, &headers, &address, &purpose).0}))
}

async fn complete(
    State(shared): State<Shared>,
    Path((repository, branch, upload)): Three,
    query: Query,
    body: JsonBody,
) -> Reply {
    demand_parts(&shared)?;
    let path = query.required("path")?;
    let fields = body.fields("CompletePresignMultipartUpload")?;
    let link = Link {
        address: fields.text("physical_address")?.to_owned(),
        // Checksum and size are those of the parts.
        checksum: String::new(),
        size: 0,
        content_type: content_type(fields.optional_text("content_type")?),
        metadata: fields.texts("user_metadata")?,
        mtime: None,
        only_if_absent: false,
    };
    let parts = fields.array("parts")?.iter().map(|part| {
        let number = part.get("part_number").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        match (number, part.get("etag").and_then(Value::as_str)) {
            (Some(number), Some(etag)) => Ok(PartReference { number, etag: etag.to_owned() }),
            _ => Err(fields.wrong("parts", "a part has a part_number and an etag")),
        }
    });
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let place = (repository.as_str(), branch.as_str(), path);
    let entry = shared
        .storage()
        .change(|store, now| store.complete_upload(place, &upload, (&parts, tag_of_parts), link, now))?;
    let mut shown = object(path, &entry, true);
    let namespace = shared.storage().read(|store| store.namespace(&repository))?;
    let relative = entry.address.strip_prefix(&format!("{namespace}/")).unwrap_or(&entry.address);
    shown["physical_address"] = json!(relative);
    ok(&shown)
}

/// The MD5 of the MD5s of parts, as S3 tags an object.
fn tag_of_parts(tags: &[&str]) -> String {
    let mut digest = Md5::new();
    for tag in tags {
        let bytes =
            (0..tag.len() / 2).filter_map(|index| u8::from_str_radix(&tag[index * 2..][..2], 16).ok());
        digest.update(bytes.collect::<Vec<_>>());
    }
    hexadecimal(&digest.finalize())
}

async fn abort(
    State(shared): State<Shared>,
    Path((repository, branch, upload)): Three,
    query: Query,
    body: JsonBody,
) -> Reply {
    demand_parts(&shared)?;
    let path = query.required("path")?;
    let fields = body.fields("AbortPresignMultipartUpload")?;
    let given = fields.text("physical_address")?;
    let place = (repository.as_str(), branch.as_str(), path);
    shared.storage().change(|store, _| store.abort_upload(place, given, &upload))?;
    nothing()
}
