//! The health endpoint: a few paths over HTTP/1.1, answered on the supervisor's own loop.
//!
//! Whoever is answered knows that the loop runs. Clients cannot hold it up: a connection carries one request, lives
//! for a bounded time, and beyond a number of connections the oldest makes room for the newest.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};

use super::condition::Condition;

/// Connections at once. A probe is answered in milliseconds, so the oldest of so many is a client that hangs.
const MOST_CONNECTIONS: usize = 32;

/// From accept to close; probes give up after a second.
const CONNECTION_LIVES: Duration = Duration::from_secs(5);

/// A request's line and headers; the least that hyper allows.
const MOST_REQUEST_BYTES: usize = 8192;

/// When the system has no descriptor left for a connection, another moment may.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Listens on an address; port 0 takes a free one.
///
/// # Errors
/// The system's reason.
pub(super) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the loop ends. Needs a `LocalSet`.
pub(super) async fn serve(listener: TcpListener, condition: Condition) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MOST_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(spawn_local(converse(stream, condition.clone())).abort_handle());
    }
}

async fn converse(stream: TcpStream, condition: Condition) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &condition);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MOST_REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A client that is slow or talks nonsense is its own concern.
    let _ = tokio::time::timeout(CONNECTION_LIVES, connection).await;
}

fn answer(method: &Method, path: &str, condition: &Condition) -> Response<Full<Bytes>> {
    let is_about_readiness = match path {
        "/livez" | "/healthz" => false,
        "/readyz" => true,
        _ => return plain(StatusCode::NOT_FOUND, "not found; try /livez, /readyz or /healthz\n"),
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let report = condition.report();
    let status =
        if is_about_readiness && !report.ready { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    respond(status, "application/json", serde_json::to_vec(&report).unwrap_or_default())
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
