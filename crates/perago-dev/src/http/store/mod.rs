//! lakeFS's API below `/api/v1`, and the object store that its signed URLs lead to.

mod auth;
mod commits;
mod config;
mod merges;
mod object_store;
mod objects;
mod parameters;
mod reading;
mod refs;
mod reply;
mod repositories;
mod staging;
mod uploads;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use uuid::Uuid;

use crate::shared::Shared;
use crate::store::StoreError;

pub(crate) use object_store::PREFIX as OBJECT_STORE_PREFIX;

/// Where lakeFS's API lies on a server.
pub(crate) const API_PREFIX: &str = "/api/v1";

/// What lakeFS's paths start with below it; other services have paths there as well.
pub(crate) const API_ROOTS: [&str; 6] =
    ["auth", "config", "healthcheck", "repositories", "setup_lakefs", "user"];

/// Parts of lakeFS's API that the store does not have, by what their paths hold.
const UNSUPPORTED: [&str; 16] = [
    "/auth/",
    "/repositories/{}/actions",
    "/repositories/{}/branches/{}/import",
    "/repositories/{}/branches/{}/metastore",
    "/repositories/{}/branches/{}/update_token",
    "/repositories/{}/dump",
    "/repositories/{}/gc",
    "/repositories/{}/hooks",
    "/repositories/{}/metadata",
    "/repositories/{}/otf",
    "/repositories/{}/pulls",
    "/repositories/{}/restore",
    "/repositories/{}/refs/{}/symlink",
    "/repositories/{}/settings/gc_rules",
    "/otf/",
    "/templates/",
];

/// lakeFS's API and the object store.
pub(super) fn routes(shared: &Shared) -> Router<Shared> {
    let guarded = Router::new()
        .merge(config::routes())
        .merge(repositories::routes())
        .merge(refs::routes())
        .merge(commits::routes())
        .merge(merges::routes())
        .merge(objects::routes())
        .merge(staging::routes())
        .route_layer(middleware::from_fn_with_state(shared.clone(), auth::demand_credentials));
    let api = Router::new()
        .merge(guarded)
        .merge(auth::routes())
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(middleware::from_fn(name_request));
    Router::new().nest(API_PREFIX, api).merge(object_store::routes()).layer(DefaultBodyLimit::disable())
}

async fn unknown_route(OriginalUri(uri): OriginalUri) -> StoreError {
    let path = uri.path().strip_prefix(API_PREFIX).unwrap_or(uri.path());
    match UNSUPPORTED.iter().find(|pattern| covers(pattern, path)) {
        Some(_) => StoreError::unsupported(format!("{API_PREFIX}{path}")),
        None => StoreError::missing("invalid API endpoint"),
    }
}

/// Whether a path starts as a pattern says, whose `{}` stand for one segment each.
fn covers(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    pattern
        .trim_end_matches('/')
        .split('/')
        .all(|wanted| segments.next().is_some_and(|segment| wanted == "{}" || wanted == segment))
}

/// Gives every answer an id, as the server does.
async fn name_request(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn patterns_cover_what_lies_below() {
        assert!(covers("/auth/", "/auth/users"));
        assert!(covers("/repositories/{}/actions", "/repositories/a/actions/runs"));
        assert!(!covers("/repositories/{}/actions", "/repositories/a/branches"));
        assert!(!covers("/auth/", "/nope"));
    }
}
