//! Calls that move a branch by new commits.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::Client;
use crate::error::Error;

/// What to merge: the body of `POST …/merge/…`. Always a plain merge with two parents: unlike a squash it can be
/// sent again.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MergeRequest {
    /// Message.
    pub message: String,
    /// Metadata; lakeFS adds `.lakefs.merge.strategy`.
    pub metadata: BTreeMap<String, String>,
}

/// What came of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeOutcome {
    /// The destination's new head.
    Merged(String),
    /// The destination holds the source already: it was merged before, perhaps by a try whose answer was lost.
    NoChanges,
    /// Both sides changed the same paths; a three-dot diff names them.
    Conflict,
    /// Something is staged on the destination.
    DirtyDestination,
}

/// What to revert: the body of `POST …/revert`.
#[derive(Debug, Clone, Default)]
pub struct RevertRequest<'a> {
    /// The commit.
    pub commit: &'a str,
    /// Which parent to go back to, from 1, where the commit is a merge; 0 for others.
    pub parent_number: u32,
    /// Message of the new commit.
    pub message: &'a str,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// What came of a revert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevertOutcome {
    /// A new commit takes the changes back.
    Reverted,
    /// They are not there any more.
    NoChanges,
    /// Later commits changed the same paths.
    Conflict,
    /// Something is staged on the branch.
    DirtyBranch,
}

#[derive(Deserialize)]
struct MergeAnswer {
    reference: String,
}

impl Client {
    /// Merges a ref into a branch. A source given by branch name is resolved when the server executes the merge: a
    /// branch that is gone by then is missing ([`Error::is_missing`]).
    ///
    /// Within `limit` it is repeated only where the failed try certainly did nothing, so that the caller can fence
    /// again after a lost reply; sent again, it answers [`MergeOutcome::NoChanges`] if the first try was done.
    ///
    /// `POST …/refs/{source}/merge/{destination}`.
    pub async fn merge(
        &self,
        repository: &str,
        source: &str,
        destination: &str,
        request: &MergeRequest,
        limit: Duration,
    ) -> Result<MergeOutcome, Error> {
        let segments = ["repositories", repository, "refs", source, "merge", destination];
        let call = self.call("merge", Method::POST, &segments)?.repeated_when_refused().limit(limit);
        match self.send_for_json::<MergeAnswer>(&call.json(self, request)?).await {
            Ok(answer) => Ok(MergeOutcome::Merged(answer.reference)),
            Err(error) if error.is_no_changes() => Ok(MergeOutcome::NoChanges),
            Err(error) if error.is_dirty_branch() => Ok(MergeOutcome::DirtyDestination),
            Err(error) if error.is_conflict() => Ok(MergeOutcome::Conflict),
            Err(error) => Err(error),
        }
    }

    /// Takes the changes of a commit back by a new commit on a branch.
    ///
    /// Sent again after a lost reply, it answers [`RevertOutcome::NoChanges`] if the first try was done.
    ///
    /// `POST …/branches/{branch}/revert`.
    pub async fn revert(
        &self,
        repository: &str,
        branch: &str,
        request: &RevertRequest<'_>,
    ) -> Result<RevertOutcome, Error> {
        let segments = ["repositories", repository, "branches", branch, "revert"];
        let body = json!({
            "ref": request.commit,
            "parent_number": request.parent_number,
            "commit_overrides": {"message": request.message, "metadata": request.metadata},
        });
        let call = self.call("revert a commit", Method::POST, &segments)?.json(self, &body)?;
        match self.send(&call).await {
            Ok(_) => Ok(RevertOutcome::Reverted),
            Err(error) if error.is_no_changes() => Ok(RevertOutcome::NoChanges),
            Err(error) if error.is_dirty_branch() => Ok(RevertOutcome::DirtyBranch),
            Err(error) if error.is_conflict() => Ok(RevertOutcome::Conflict),
            Err(error) => Err(error),
        }
    }
}
