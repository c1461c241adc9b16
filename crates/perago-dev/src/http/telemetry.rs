//! OTLP in, series out in the forms of VictoriaMetrics.

use std::io::Read;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use serde_json::{Value, json};

use super::reply::{Query, empty};
use crate::shared::{Shared, now};
use crate::telemetry::{Decoded, Selector, SelectorError, decode};

/// A push that unpacks to more than this is refused.
const MAXIMUM_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/opentelemetry/v1/metrics", post(push))
        .route("/api/v1/series", get(series))
        .route("/api/v1/query", get(query))
        .route("/api/v1/export", get(export))
        // Samples are visible at once here; the same script works against the real store.
        .route("/internal/force_flush", get(async || empty()))
}

async fn push(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let request = match unpack(&headers, &body) {
        Ok(request) => request,
        Err((status, message)) => return (status, message).into_response(),
    };
    let Decoded { samples, refused, mut reason } = decode(request, now());
    let beyond = shared.telemetry().add(samples);
    if beyond > 0 {
        reason.get_or_insert_with(|| "too many series".to_owned());
    }
    let rejected = (refused + beyond) as i64;
    let partial_success = (rejected > 0).then(|| ExportMetricsPartialSuccess {
        rejected_data_points: rejected,
        error_message: reason.unwrap_or_default(),
    });
    let mut response = Response::new(ExportMetricsServiceResponse { partial_success }.encode_to_vec().into());
    let content_type = HeaderValue::from_static("application/x-protobuf");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn unpack(headers: &HeaderMap, body: &[u8]) -> Result<ExportMetricsServiceRequest, (StatusCode, String)> {
    let named =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let content_type = named(header::CONTENT_TYPE);
    if !content_type.starts_with("application/x-protobuf") {
        let message = format!("only application/x-protobuf is supported, not {content_type:?}");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let mut unpacked = Vec::new();
    let bytes = match named(header::CONTENT_ENCODING) {
        "" | "identity" => body,
        "gzip" => {
            let mut reader = MultiGzDecoder::new(body).take(MAXIMUM_UNPACKED_BYTES + 1);
            let read = reader.read_to_end(&mut unpacked);
            read.map_err(|error| (StatusCode::BAD_REQUEST, format!("cannot unpack: {error}")))?;
            if unpacked.len() as u64 > MAXIMUM_UNPACKED_BYTES {
                return Err((StatusCode::PAYLOAD_TOO_LARGE, "the push is too large".to_owned()));
            }
            unpacked.as_slice()
        }
        other => {
            let message = format!("content encoding {other:?} is not supported");
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    };
    let decoded = ExportMetricsServiceRequest::decode(bytes);
    decoded.map_err(|error| (StatusCode::BAD_REQUEST, format!("cannot decode: {error}")))
}

async fn series(State(shared): State<Shared>, query: Query) -> Response {
    let selectors = match selectors(&query) {
        Ok(selectors) => selectors,
        Err(error) => return refused(&error),
    };
    let telemetry = shared.telemetry();
    let labels: Vec<_> = telemetry.matching(&selectors).into_iter().map(|(labels, _)| labels).collect();
    axum::Json(json!({"status": "success", "data": labels})).into_response()
}

async fn query(State(shared): State<Shared>, query: Query) -> Response {
    let selector = match Selector::parse(query.get("query").unwrap_or_default()) {
        Ok(selector) => selector,
        Err(error) => return refused(&error),
    };
    let time = match query.get("time").map(str::parse::<f64>) {
        None => now(),
        Some(Ok(seconds)) => (seconds * 1000.0) as i64,
        Some(Err(_)) => {
            return refused(&SelectorError::Unsupported("a time that is not in seconds".to_owned()));
        }
    };
    let telemetry = shared.telemetry();
    let found = telemetry
        .query(selector, time)
        .into_iter()
        .map(|(labels, value)| json!({"metric": labels, "value": [time as f64 / 1000.0, value_text(value)]}));
    let result: Vec<Value> = found.collect();
    axum::Json(json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
        .into_response()
}

async fn export(State(shared): State<Shared>, query: Query) -> Response {
    let selectors = match selectors(&query) {
        Ok(selectors) => selectors,
        Err(error) => return refused(&error),
    };
    let telemetry = shared.telemetry();
    let mut lines = String::new();
    for (labels, series) in telemetry.matching(&selectors) {
        let (times, values): (Vec<i64>, Vec<f64>) = series.samples().unzip();
        lines.push_str(&json!({"metric": labels, "values": values, "timestamps": times}).to_string());
        lines.push('\n');
    }
    ([(header::CONTENT_TYPE, "application/stream+json; charset=utf-8")], lines).into_response()
}

fn selectors(query: &Query) -> Result<Vec<Selector>, SelectorError> {
    let found: Vec<_> = query.all("match[]").map(Selector::parse).collect::<Result<_, _>>()?;
    if found.is_empty() { Err(SelectorError::Syntax(String::new())) } else { Ok(found) }
}

fn value_text(value: f64) -> String {
    crate::telemetry::format_number(value)
}

fn refused(error: &SelectorError) -> Response {
    let (status, kind) = match error {
        SelectorError::Syntax(_) => (StatusCode::UNPROCESSABLE_ENTITY, "422"),
        SelectorError::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, "501"),
    };
    let body = json!({"status": "error", "errorType": kind, "error": error.to_string()});
    (status, axum::Json(body)).into_response()
}
