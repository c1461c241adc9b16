//! Merges, reverts and cherry-picks.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use serde_json::json;

use super::parameters::JsonBody;
use super::reply::{Reply, created, nothing, ok};
use crate::shared::Shared;
use crate::store::{CherryPick, Merge, Revert, StoreError, Strategy};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/repositories/{repository}/refs/{source}/merge/{destination}", post(merge).get(merge_base))
        .route("/repositories/{repository}/branches/{branch}/revert", post(revert))
        .route("/repositories/{repository}/branches/{branch}/cherry-pick", post(cherry_pick))
}

type Three = Path<(String, String, String)>;

async fn merge(
    State(shared): State<Shared>,
    Path((repository, source, destination)): Three,
    body: JsonBody,
) -> Reply {
    let fields = body.optional_fields("Merge")?;
    let strategy = match fields.optional_text("strategy")? {
        None | Some("") => Strategy::None,
        Some("source-wins") => Strategy::SourceWins,
        Some("dest-wins") => Strategy::DestinationWins,
        Some(_) => {
            return Err(StoreError::invalid("argument strategy: invalid value: validation error"));
        }
    };
    let merge = Merge {
        message: fields.optional_text("message")?.unwrap_or_default().to_owned(),
        metadata: fields.texts("metadata")?,
        strategy,
        squash: fields.flag("squash_merge")?,
        allow_empty: fields.flag("allow_empty")? | fields.flag("force")?,
    };
    let storage = shared.storage();
    let id = storage.change(|store, now| store.merge(&repository, &source, &destination, &merge, now))?;
    ok(&json!({ "reference": id }))
}

async fn merge_base(State(shared): State<Shared>, Path((repository, source, destination)): Three) -> Reply {
    ok(&shared.storage().read(|store| store.merge_base(&repository, &source, &destination))?)
}

async fn revert(
    State(shared): State<Shared>,
    Path((repository, branch)): Path<(String, String)>,
    body: JsonBody,
) -> Reply {
    let fields = body.fields("RevertCreation")?;
    let reference = fields.text("ref")?.to_owned();
    let parent_number = usize::try_from(fields.number("parent_number")?);
    let overrides = fields.optional_object("commit_overrides", "CommitOverrides")?;
    let message = overrides.as_ref().map(|fields| fields.optional_text("message")).transpose()?.flatten();
    let metadata = overrides.as_ref().map(|fields| fields.texts("metadata")).transpose()?;
    let revert = Revert {
        reference,
        parent_number: parent_number
            .map_err(|_| fields.wrong("parent_number", "number must be at least 0"))?,
        allow_empty: fields.flag("allow_empty")?,
        message: message.filter(|message| !message.is_empty()).map(str::to_owned),
        metadata: metadata.unwrap_or_default(),
    };
    shared.storage().change(|store, now| store.revert(&repository, &branch, &revert, now))?;
    nothing()
}

async fn cherry_pick(
    State(shared): State<Shared>,
    Path((repository, branch)): Path<(String, String)>,
    body: JsonBody,
) -> Reply {
    let fields = body.fields("CherryPickCreation")?;
    let overrides = fields.optional_object("commit_overrides", "CommitOverrides")?;
    let message = overrides.as_ref().map(|fields| fields.optional_text("message")).transpose()?.flatten();
    let metadata = overrides.as_ref().filter(|fields| fields.has("metadata"));
    let pick = CherryPick {
        reference: fields.text("ref")?.to_owned(),
        parent_number: fields
            .optional_number("parent_number")?
            .and_then(|number| usize::try_from(number).ok()),
        message: message.map(str::to_owned),
        metadata: metadata.map(|fields| fields.texts("metadata")).transpose()?,
    };
    created(&shared.storage().change(|store, now| store.cherry_pick(&repository, &branch, &pick, now))?)
}
