//! What the server says about itself.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};

use super::reply::{Reply, ok};
use crate::shared::Shared;

/// The version of lakeFS whose protocol the store speaks.
const LAKEFS_VERSION: &str = "1.84.0";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/config", get(config))
        .route("/config/storage", get(storage))
        .route("/config/garbage-collection", get(async || ok(&json!({"grace_period": 86400}))))
        .route("/config/version", get(async || ok(&json!({"version": LAKEFS_VERSION}))))
}

fn storage_config(shared: &Shared) -> Value {
    let kind = shared.storage().kind();
    let (scheme, signs) = (kind.scheme(), kind.signs());
    json!({
        "blockstore_description": "",
        "blockstore_id": "",
        "blockstore_namespace_ValidityRegex": format!("^{scheme}"),
        "blockstore_namespace_example": format!("{scheme}example-bucket/"),
        "blockstore_type": kind.name(),
        "default_namespace_prefix": if signs { "" } else { scheme },
        "import_support": false,
        "import_validity_regex": format!("^{scheme}"),
        "pre_sign_multipart_upload": signs,
        "pre_sign_support": signs,
        "pre_sign_support_ui": false,
    })
}

async fn storage(State(shared): State<Shared>) -> Reply {
    ok(&storage_config(&shared))
}

async fn config(State(shared): State<Shared>) -> Reply {
    ok(&json!({
        "capabilities_config": {},
        "storage_config": storage_config(&shared),
        "storage_config_list": [],
        "ui_config": {},
        "version_config": {"version": LAKEFS_VERSION, "version_context": "lakeFS"},
    }))
}
