//! The HTTP layer: thin handlers over the engine and the telemetry store.

mod auth;
mod control;
mod metadata;
mod reply;
mod store;
mod tasks;
mod telemetry;
mod workflows;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::http::Method;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;

use crate::engine::EngineError;
use crate::faults::inject;
use crate::shared::Shared;
pub(crate) use control::PREFIX as CONTROL_PREFIX;
use reply::{Reply, json_text, text};

/// Bodies beyond this are refused; the largest payload that the engine tells from others is 10 MiB.
const MAXIMUM_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Version of the Conductor server whose protocol the engine speaks.
const CONDUCTOR_VERSION: &str = "3.32.3";
const HEALTHY: &str = r#"{"healthResults":[],"suppressedHealthResults":[],"healthy":true}"#;

/// Returns the whole service: Conductor below `/api`, lakeFS below `/api/v1`, metrics beside them.
pub(crate) fn router(shared: Shared) -> Router {
    let conductor = Router::new()
        .merge(metadata::routes())
        .merge(workflows::routes())
        .merge(tasks::routes())
        .route("/version", get(async || text(CONDUCTOR_VERSION)))
        .route("/health", get(async || json_text(HEALTHY.to_owned())));
    let mut router = Router::new()
        .nest("/api", conductor)
        .merge(store::routes(&shared))
        .merge(telemetry::routes())
        .merge(auth::routes())
        .route("/health", get(async || json_text(HEALTHY.to_owned())));
    if shared.faults().is_ok() {
        router = router.merge(control::routes());
    }
    let router = router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(shared.clone(), auth::demand_key))
        .layer(DefaultBodyLimit::max(MAXIMUM_BODY_BYTES));
    match shared.faults().cloned() {
        Ok(faults) => router.layer(middleware::from_fn_with_state(faults, inject)),
        Err(_) => router,
    }
    .with_state(shared)
}

async fn unknown_route(method: Method, OriginalUri(uri): OriginalUri) -> Reply {
    Err(EngineError::unsupported(format!("the route {method} {}", uri.path())))
}

async fn wrong_method(method: Method) -> Response {
    let message = format!("Request method '{method}' is not supported");
    reply::failure(&EngineError { status: 405, message, violations: Vec::new() })
}
