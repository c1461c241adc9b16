//! Uploads through the server: raw bodies and forms.

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use uuid::Uuid;

use super::parameters::Query;
use super::reply::{Reply, created, object};
use crate::shared::Shared;
use crate::storage::{BlobWriter, Blobs};
use crate::store::{Metadata, StoreError, Upload};

const METADATA_PREFIX: &str = "x-lakefs-meta-";

/// A new key below a repository's data.
pub(super) fn new_key() -> String {
    format!("{}/{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

pub(super) async fn upload(
    State(shared): State<Shared>,
    Path((repository, branch)): Path<(String, String)>,
    query: Query,
    request: Request,
) -> Reply {
    let path = query.required("path")?;
    let headers = request.headers().clone();
    let only_if_absent = condition(&headers)?;
    let storage = shared.storage();
    storage.read(|store| store.check_upload(&repository, &branch, path))?;
    let given = text(headers.get(header::CONTENT_TYPE)).unwrap_or_default();
    let is_form = given.trim_start().to_ascii_lowercase().starts_with("multipart/form-data");
    let (arrived, content_type) = if is_form {
        form_content(storage.blobs(), request).await?
    } else {
        let content_type = if given.is_empty() { "application/octet-stream" } else { given };
        if !content_type.split(';').next().unwrap_or_default().contains('/') {
            return Err(StoreError::new(500, "mime: expected slash after first token"));
        }
        (take_body(storage.blobs(), request.into_body()).await?, content_type.to_owned())
    };
    let entry = storage.receive(arrived, |store, object, now| {
        let upload = Upload {
            address: store.new_address(&repository, &new_key())?,
            object,
            content_type,
            metadata: metadata(&headers),
            only_if_absent,
        };
        store.upload(&repository, &branch, path, upload, now)
    })?;
    created(&object(path, &entry, true))
}

/// Whether the upload is refused where an object is there; other conditions are not known.
pub(super) fn condition(headers: &HeaderMap) -> Result<bool, StoreError> {
    let none_match = headers.get(header::IF_NONE_MATCH);
    if headers.contains_key(header::IF_MATCH) || none_match.is_some_and(|value| value != "*") {
        return Err(StoreError::new(501, "Not Implemented"));
    }
    Ok(none_match.is_some())
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

fn metadata(headers: &HeaderMap) -> Metadata {
    let entries = headers.iter().filter_map(|(name, value)| {
        let key = name.as_str().strip_prefix(METADATA_PREFIX)?;
        Some((key.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    entries.collect()
}

/// Takes in a body as it comes; one that is cut short is an error and leaves nothing.
pub(super) async fn take_body(blobs: &Blobs, mut body: Body) -> Result<BlobWriter, StoreError> {
    let mut writer = blobs.writer().map_err(|error| StoreError::disk(&error))?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| StoreError::invalid(format!("the body was cut short: {error}")))?;
        if let Some(bytes) = frame.data_ref() {
            writer.write(bytes).map_err(|error| StoreError::disk(&error))?;
        }
    }
    Ok(writer)
}

/// Takes in the part `content` of a form; answers its content type as well, empty where it has none.
async fn form_content(blobs: &Blobs, request: Request) -> Result<(BlobWriter, String), StoreError> {
    let broken = |error: &dyn std::fmt::Display| StoreError::new(500, format!("multipart upload: {error}"));
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| broken(&error))?;
    let mut found: Option<(BlobWriter, String)> = None;
    while let Some(mut part) = form.next_field().await.map_err(|error| broken(&error))? {
        if part.name() != Some("content") || found.is_some() {
            continue;
        }
        let content_type = part.content_type().unwrap_or_default().to_owned();
        let mut writer = blobs.writer().map_err(|error| StoreError::disk(&error))?;
        while let Some(bytes) = part.chunk().await.map_err(|error| broken(&error))? {
            writer.write(&bytes).map_err(|error| StoreError::disk(&error))?;
        }
        found = Some((writer, content_type));
    }
    let missing = || StoreError::new(500, "multipart upload missing key 'content': http: no such file");
    found.ok_or_else(missing)
}
