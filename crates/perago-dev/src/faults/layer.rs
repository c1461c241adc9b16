//! Does to requests what the script says, in front of every handler.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::calls::{BEAT, Call, UPDATE_ROUTE};
use super::connection::Line;
use super::script::{Fault, Faults};

/// What tells a beat from an update of a task.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    #[serde(default)]
    extend_lease: bool,
}

/// Lets a request meet what is scripted for its call.
pub(crate) async fn inject(
    State(faults): State<Faults>,
    ConnectInfo(line): ConnectInfo<Line>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let Some(call) = route.and_then(|route| Call::at(request.method(), route.as_str())) else {
        return next.run(request).await;
    };
    let (call, request) = match told_apart(call, request).await {
        Ok(told) => told,
        // The client went away before it had said everything.
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let path = request.uri().path_and_query().map_or("", |path| path.as_str()).to_owned();
    let Some(fault) = faults.meet(call, &path) else { return next.run(request).await };
    match fault {
        Fault::DropRequest => {
            drain(request).await;
            line.close();
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Fault::Reset => {
            line.reset();
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Fault::DropReply => {
            let response = next.run(request).await;
            line.close();
            response
        }
        Fault::Delay { milliseconds } => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            next.run(request).await
        }
        Fault::DelayReply { milliseconds } => {
            let response = next.run(request).await;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            response
        }
        Fault::Status { code, body } => {
            drain(request).await;
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Fault::Truncate { bytes } => {
            let mut response = next.run(request).await;
            line.truncate(bytes);
            // A reply that is not longer than that ends the connection too.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// The call with the request, whose body is read where that alone says which call it is.
async fn told_apart(call: Call, request: Request) -> Result<(Call, Request), axum::Error> {
    if request.method() != Method::POST || request.uri().path() != UPDATE_ROUTE {
        return Ok((call, request));
    }
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let is_beat = serde_json::from_slice::<Update>(&bytes).unwrap_or_default().extend_lease;
    Ok((if is_beat { BEAT } else { call }, Request::from_parts(parts, Body::from(bytes))))
}

/// Reads a body to its end: a connection that is closed with unread bytes in it is a reset for its client.
async fn drain(request: Request) {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}
