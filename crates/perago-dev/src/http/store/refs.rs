//! Branches, tags and differences.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post, put};

use super::parameters::{JsonBody, Query, refused};
use super::reply::{Reply, created, created_text, difference, nothing, ok, page, plain_page};
use crate::shared::Shared;
use crate::store::{DiffForm, Reset, StoreError};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/repositories/{repository}/branches", post(create_branch).get(branches))
        .route(
            "/repositories/{repository}/branches/{branch}",
            get(branch).delete(delete_branch).put(reset_branch),
        )
        .route("/repositories/{repository}/branches/{branch}/hard_reset", put(hard_reset))
        .route("/repositories/{repository}/branches/{branch}/diff", get(uncommitted))
        .route("/repositories/{repository}/refs/{left}/diff/{right}", get(diff))
        .route("/repositories/{repository}/tags", post(create_tag).get(tags))
        .route("/repositories/{repository}/tags/{tag}", get(tag).delete(delete_tag))
}

type Two = Path<(String, String)>;

async fn create_branch(
    State(shared): State<Shared>,
    Path(repository): Path<String>,
    body: JsonBody,
) -> Reply {
    let fields = body.fields("BranchCreation")?;
    let (name, source, hidden) = (fields.text("name")?, fields.text("source")?, fields.flag("hidden")?);
    let storage = shared.storage();
    created_text(storage.change(|store, _| store.create_branch(&repository, name, source, hidden))?)
}

async fn branches(State(shared): State<Shared>, Path(repository): Path<String>, query: Query) -> Reply {
    let (request, hidden) = (query.page()?, query.flag("show_hidden")?.unwrap_or(false));
    plain_page(shared.storage().read(|store| store.branches(&repository, &request, hidden))?)
}

async fn branch(State(shared): State<Shared>, Path((repository, name)): Two) -> Reply {
    ok(&shared.storage().read(|store| store.branch(&repository, &name))?)
}

async fn delete_branch(State(shared): State<Shared>, Path((repository, name)): Two) -> Reply {
    shared.storage().change(|store, _| store.delete_branch(&repository, &name))?;
    nothing()
}

async fn reset_branch(State(shared): State<Shared>, Path((repository, name)): Two, body: JsonBody) -> Reply {
    let fields = body.fields("ResetCreation")?;
    let path = fields.optional_text("path")?.unwrap_or_default().to_owned();
    let kind = fields.text("type")?;
    let reset = match kind {
        "reset" => Reset::All,
        "object" | "common_prefix" if path.is_empty() => {
            let message = "argument path: missing path: required value: validation error";
            return Err(StoreError::invalid(message));
        }
        "object" => Reset::Object(path),
        "common_prefix" => Reset::Prefix(path),
        _ => {
            let reason = "value is not one of the allowed values [\"object\",\"common_prefix\",\"reset\"]";
            return Err(fields.wrong("type", reason));
        }
    };
    shared.storage().change(|store, _| store.reset(&repository, &name, &reset))?;
    nothing()
}

async fn hard_reset(State(shared): State<Shared>, Path((repository, name)): Two, query: Query) -> Reply {
    let reference = query.required("ref")?;
    shared.storage().change(|store, _| store.hard_reset(&repository, &name, reference))?;
    nothing()
}

async fn uncommitted(State(shared): State<Shared>, Path((repository, name)): Two, query: Query) -> Reply {
    let request = query.page()?;
    let rows = shared.storage().read(|store| store.uncommitted(&repository, &name, &request))?;
    page(rows, |row| difference(row, false))
}

async fn diff(
    State(shared): State<Shared>,
    Path((repository, left, right)): Path<(String, String, String)>,
    query: Query,
) -> Reply {
    let form = match query.get("type") {
        None | Some("three_dot") => DiffForm::ThreeDot,
        Some("two_dot") => DiffForm::TwoDot,
        Some(_) => {
            let reason = "value is not one of the allowed values [\"two_dot\",\"three_dot\"]";
            return Err(refused("type", reason));
        }
    };
    let request = query.page()?;
    let with_right = query.flag("include_right_stats")?.unwrap_or(false);
    let rows = shared.storage().read(|store| store.diff(&repository, (&left, &right), form, &request))?;
    page(rows, |row| difference(row, with_right))
}

async fn create_tag(State(shared): State<Shared>, Path(repository): Path<String>, body: JsonBody) -> Reply {
    let fields = body.fields("TagCreation")?;
    let (id, reference) = (fields.text("id")?, fields.text("ref")?);
    created(&shared.storage().change(|store, _| store.create_tag(&repository, id, reference))?)
}

async fn tags(State(shared): State<Shared>, Path(repository): Path<String>, query: Query) -> Reply {
    let request = query.page()?;
    plain_page(shared.storage().read(|store| store.tags(&repository, &request))?)
}

async fn tag(State(shared): State<Shared>, Path((repository, id)): Two) -> Reply {
    ok(&shared.storage().read(|store| store.tag(&repository, &id))?)
}

async fn delete_tag(State(shared): State<Shared>, Path((repository, id)): Two) -> Reply {
    shared.storage().change(|store, _| store.delete_tag(&repository, &id))?;
    nothing()
}
