//! Repositories and their settings.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::parameters::{JsonBody, Query};
use super::reply::{Reply, created, nothing, ok, plain_page};
use crate::shared::Shared;
use crate::store::{RepositoryCreation, StoreError};

/// Kinds of object stores that a namespace may name.
const SCHEMES: [&str; 7] = ["s3", "gs", "https", "http", "mem", "local", "transient"];

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/repositories", post(create).get(list))
        .route("/repositories/{repository}", get(read).delete(delete))
        .route("/repositories/{repository}/settings/branch_protection", get(protection).put(protect))
}

fn is_name(name: &str) -> bool {
    let letters = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && letters(bytes[0])
        && bytes.iter().all(|byte| letters(*byte) || *byte == b'-')
}

async fn create(State(shared): State<Shared>, body: JsonBody) -> Reply {
    let fields = body.fields("RepositoryCreation")?;
    let name = fields.text("name")?;
    if !is_name(name) {
        let reason = "string doesn't match the regular expression \"^[a-z0-9][a-z0-9-]{2,62}$\"";
        return Err(fields.wrong("name", reason));
    }
    let namespace = fields.text("storage_namespace")?;
    if !namespace.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme)) {
        let reason = "string doesn't match the regular expression \
                      \"^(s3|gs|https?|mem|local|transient)://.*$\"";
        return Err(fields.wrong("storage_namespace", reason));
    }
    if fields.flag("sample_data")? {
        return Err(StoreError::unsupported("sample data"));
    }
    let new = RepositoryCreation {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        default_branch: fields.optional_text("default_branch")?.unwrap_or("main").to_owned(),
        read_only: fields.flag("read_only")?,
    };
    let scheme = shared.storage().kind().scheme();
    created(&shared.storage().change(|store, now| store.create_repository(&new, scheme, now))?)
}

async fn list(State(shared): State<Shared>, query: Query) -> Reply {
    let request = query.page()?;
    plain_page(shared.storage().read(|store| store.repositories(&request)))
}

async fn read(State(shared): State<Shared>, Path(name): Path<String>) -> Reply {
    ok(&shared.storage().read(|store| store.repository(&name))?)
}

async fn delete(State(shared): State<Shared>, Path(name): Path<String>, query: Query) -> Reply {
    let by_force = query.flag("force")?.unwrap_or(false);
    shared.storage().delete_repository(&name, by_force)?;
    nothing()
}

async fn protection(State(shared): State<Shared>, Path(name): Path<String>) -> Reply {
    let rules: Vec<Value> = shared.storage().read(|store| {
        let patterns = store.protection(&name)?;
        Ok::<_, StoreError>(patterns.iter().map(|pattern| json!({ "pattern": pattern })).collect())
    })?;
    let tag = if rules.is_empty() {
        String::new()
    } else {
        let text = serde_json::to_string(&rules).unwrap_or_default();
        shared.storage().read(|store| store.sign(&text))
    };
    let mut response = ok(&rules)?;
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

async fn protect(State(shared): State<Shared>, Path(name): Path<String>, body: JsonBody) -> Reply {
    let Value::Array(rules) = body.value() else {
        return Err(StoreError::invalid("request body has an error: value must be an array"));
    };
    let patterns = rules.iter().enumerate().map(|(index, rule)| {
        rule.get("pattern").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
            StoreError::invalid(format!(
                "request body has an error: doesn't match schema: Error at \"/{index}/pattern\": \
                 property \"pattern\" is missing"
            ))
        })
    });
    let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
    shared.storage().change(|store, _| store.protect(&name, patterns))?;
    nothing()
}
