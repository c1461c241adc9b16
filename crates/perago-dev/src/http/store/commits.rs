//! Commits and logs.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::parameters::{JsonBody, Query, refused};
use super::reply::{Reply, created, ok, plain_page};
use crate::shared::Shared;
use crate::store::{CommitCreation, LogRequest, StoreError};

/// The server's words about a date that is none.
const NO_DATE: &str = "string doesn't match the format \"date-time\": string doesn't match pattern \
     \"^[0-9]{4}-(0[1-9]|10|11|12)-(0[1-9]|[12][0-9]|3[01])T([0-1][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)\
     (\\.[0-9]+)?(Z|(\\+|-)[0-9]{2}:[0-9]{2})?$\"";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/repositories/{repository}/branches/{branch}/commits", post(commit))
        .route("/repositories/{repository}/commits/{reference}", get(read))
        .route("/repositories/{repository}/refs/{reference}/commits", get(log))
}

async fn commit(
    State(shared): State<Shared>,
    Path((repository, branch)): Path<(String, String)>,
    query: Query,
    body: JsonBody,
) -> Reply {
    let fields = body.fields("CommitCreation")?;
    if query.get("source_metarange").is_some() {
        return Err(StoreError::unsupported("a commit of a given metarange"));
    }
    let creation = CommitCreation {
        message: fields.text("message")?.to_owned(),
        metadata: fields.texts("metadata")?,
        date: fields.optional_number("date")?,
        allow_empty: fields.flag("allow_empty")?,
    };
    let run = Uuid::new_v4().simple().to_string();
    let storage = shared.storage();
    created(&storage.change(|store, now| store.commit(&repository, &branch, creation, now, &run))?)
}

async fn read(State(shared): State<Shared>, Path((repository, reference)): Path<(String, String)>) -> Reply {
    ok(&*shared.storage().read(|store| store.commit_at(&repository, &reference))?)
}

async fn log(
    State(shared): State<Shared>,
    Path((repository, reference)): Path<(String, String)>,
    query: Query,
) -> Reply {
    let since = query.get("since").map(|text| OffsetDateTime::parse(text, &Rfc3339)).transpose();
    let since = since.map_err(|_| refused("since", NO_DATE))?;
    let request = LogRequest {
        after: query.get("after").map(str::to_owned),
        amount: query.amount()?,
        limit: query.flag("limit")?.unwrap_or(false),
        first_parent: query.flag("first_parent")?.unwrap_or(false),
        stop_at: query.get("stop_at").map(str::to_owned),
        since: since.map(OffsetDateTime::unix_timestamp),
        objects: query.all("objects"),
        prefixes: query.all("prefixes"),
    };
    let rows = shared.storage().read(|store| store.log(&repository, &reference, &request))?;
    plain_page(rows)
}
