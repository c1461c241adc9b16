//! Answers in lakeFS's forms.
#![expect(clippy::unnecessary_wraps, reason = "handlers end with an answer or with a refusal")]

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::store::{DiffRow, Entry, PageOf, Row, StoreError};

/// Result of a handler.
pub(super) type Reply = Result<Response, StoreError>;

/// A status with a value as JSON, ended by a line feed as the server does.
pub(super) fn with_json<T: Serialize + ?Sized>(status: u16, value: &T) -> Response {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with a value as JSON.
pub(super) fn ok<T: Serialize + ?Sized>(value: &T) -> Reply {
    Ok(with_json(200, value))
}

/// 201 with a value as JSON.
pub(super) fn created<T: Serialize + ?Sized>(value: &T) -> Reply {
    Ok(with_json(201, value))
}

/// 204.
pub(super) fn nothing() -> Reply {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// 201 with plain text: the id of a new branch's commit comes so.
pub(super) fn created_text(text: String) -> Reply {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::CREATED;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}

impl IntoResponse for StoreError {
    fn into_response(self) -> Response {
        match &self.message {
            Some(message) => with_json(self.status, &json!({ "message": message })),
            None => with_json(self.status, &json!({ "reference": "" })),
        }
    }
}

/// A page with each row as JSON; `next` is what to ask for after it.
pub(super) fn page<T>(page: PageOf<T>, show: impl FnMut(T) -> Value) -> Reply {
    let rows: Vec<_> = page.rows.into_iter().map(show).collect();
    ok(&json!({
        "pagination": {
            "has_more": page.next.is_some(),
            "max_per_page": 1000,
            "next_offset": page.next.unwrap_or_default(),
            "results": rows.len(),
        },
        "results": rows,
    }))
}

/// A page of what serialises itself.
pub(super) fn plain_page<T: Serialize>(rows: PageOf<T>) -> Reply {
    page(rows, |row| serde_json::to_value(row).unwrap_or_default())
}

/// An object as shown; without metadata where `metadata` is false and, in lists, where there is none.
pub(super) fn object(path: &str, entry: &Entry, metadata: bool) -> Value {
    let mut shown = json!({
        "checksum": entry.checksum,
        "content_type": entry.content_type,
        "mtime": entry.mtime,
        "path": path,
        "path_type": "object",
        "physical_address": entry.address,
        "size_bytes": entry.size,
    });
    if metadata {
        shown["metadata"] = json!(entry.metadata);
    }
    shown
}

/// A row of a list that stands for all paths below a prefix.
pub(super) fn common_prefix(path: &str) -> Value {
    json!({"checksum": "", "mtime": 0, "path": path, "path_type": "common_prefix", "physical_address": ""})
}

/// A row of a diff.
pub(super) fn difference(row: Row<DiffRow>, with_right: bool) -> Value {
    let row = match row {
        Row::Prefix(path) => {
            return json!({"path": path, "path_type": "common_prefix", "type": "prefix_changed"});
        }
        Row::Item(row) => row,
    };
    let mut shown =
        json!({"path": row.path, "path_type": "object", "size_bytes": row.size, "type": row.kind});
    if let Some(entry) = row.shown.filter(|_| with_right) {
        shown["right"] = json!({
            "checksum": entry.checksum,
            "content_type": entry.content_type,
            "metadata": entry.metadata,
            "mtime": entry.mtime,
        });
    }
    shown
}
