//! The key: demanded of every request where one is set, as itself or as a token made from it.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;

use super::reply::{Json, Reply, json};
use super::store;
use crate::engine::EngineError;
use crate::shared::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/api/token", post(token))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    #[serde(default)]
    key_id: String,
    #[serde(default)]
    key_secret: String,
}

/// Makes a token; a server without keys has no such route, like the open source server.
async fn token(State(shared): State<Shared>, Json(request): Json<TokenRequest>) -> Reply {
    let Some(access) = shared.access() else {
        return Err(EngineError::not_found("No static resource api/token."));
    };
    match access.issue(&request.key_id, &request.key_secret) {
        Some(token) => json(&serde_json::json!({ "token": token })),
        None => Ok(refused("INVALID_CREDENTIALS", "The key is not known")),
    }
}

/// Lets a request pass that carries the key or a live token; health and tokens are open.
pub(super) async fn demand_key(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if let Some(access) = shared.access() {
        let path = request.uri().path();
        let open = matches!(path, "/health" | "/api/health" | "/api/token") || has_own_keys(path);
        if !open {
            let Some(presented) = presented(request.headers()) else {
                return refused("INVALID_TOKEN", "This server demands a key: send it in X-Authorization");
            };
            if !access.accepts(presented) {
                return refused("EXPIRED_TOKEN", "The token is unknown or has expired");
            }
        }
    }
    next.run(request).await
}

/// Whether a path belongs to the store, which asks for its key pair by itself, or to signed URLs.
fn has_own_keys(path: &str) -> bool {
    let below = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix('/');
    below(store::OBJECT_STORE_PREFIX).is_some()
        || below(store::API_PREFIX).is_some_and(|rest| {
            // Queries of metrics lie beside them.
            rest.split('/').next().is_some_and(|first| store::API_ROOTS.contains(&first))
        })
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get("x-authorization") {
        return value.to_str().ok();
    }
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn refused(error: &'static str, message: &'static str) -> Response {
    let body = serde_json::json!({"status": 401, "error": error, "message": message, "retryable": false});
    (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response()
}
