//! Finishes what an earlier attempt at the same work has left on the branch or on its staging branch, so that no body
//! runs for a result that is there already.

use std::sync::Arc;

use perago_contract::{FailureCode, OnMovedHead};

use super::history::{History, Walk};
use super::machine::PublishFailure;
use super::run::{Run, Source, delete_older, older_branches, read_history};
use super::{AttemptControl, PublishReport, Target, report};
use crate::backoff::repeated;
use crate::error::WorkspaceError;
use crate::stamp::CommitStamp;
use crate::store::{Commit, CommitId, Repository, StoreError, StoreErrorKind};

/// What may be adopted, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct AdoptRequest<'a> {
    /// Where, and by whom.
    pub target: Target<'a>,
    /// The tasks that ours retries, and ours itself for its earlier claims. The same work under another task is another
    /// run of it, such as one that was restarted on purpose.
    pub predecessors: &'a [String],
    /// The commit that a result of theirs names which the caller has kept.
    pub published: Option<&'a str>,
    /// What was staged for a result of theirs which the caller has kept.
    pub staged: Option<&'a str>,
}

/// What was adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The body's result as JSON, from the commit; none where it is the one that the caller has kept.
    pub result: Option<String>,
    /// The task whose attempt has made it; none where the caller knows.
    pub task_id: Option<String>,
    /// What was done.
    pub report: PublishReport,
}

/// Looks for what an earlier attempt has published or staged, publishes what was staged, and says what it found. `None`
/// when the body must run.
///
/// Older attempts are fenced off as by a publication: what none of them has merged by then, none will.
///
/// # Errors
/// A typed failure, as of a publication.
pub async fn adopt<R: Repository, C: AttemptControl>(
    repository: &Arc<R>,
    control: &C,
    request: &AdoptRequest<'_>,
) -> Result<Option<Adopted>, WorkspaceError> {
    if let Err(reason) = control.fence(request.target.merge_limit).await {
        return Err(report::explain(request.target.branch, &PublishFailure::LeaseLost(reason)));
    }
    let failed = |error: StoreError| {
        let message = format!("cannot look for earlier work on {}: {error}", request.target.branch);
        WorkspaceError::new(FailureCode::Workspace, message).with_source(error)
    };
    // Their commits are read before their branches go.
    let staged = staged_by_others(repository, request).await.map_err(failed)?;
    delete_older(repository, request.target.stamp).await.map_err(failed)?;
    let input = &request.target.stamp.input_ref;
    let history = read_history(repository, request.target.branch, input).await.map_err(failed)?;
    if let Some(found) = standing(&history, request) {
        return Ok(Some(found));
    }
    let kept = match request.staged {
        Some(commit) => commit_if_there(repository, commit).await.map_err(failed)?,
        None => None,
    };
    let (commit, stamp) = match (kept, staged) {
        (Some(commit), _) => (commit, None),
        (None, Some((commit, stamp))) => (commit, Some(stamp)),
        (None, None) => return Ok(None),
    };
    let (result, task_id) = stamp.map_or((None, None), |stamp| (stamp.result, Some(stamp.task_id)));
    let target = Target { result: result.as_deref().or(request.target.result), ..request.target };
    let published = Run::new(repository, control, target, Source::Kept(&commit)).finish_if_usable().await?;
    Ok(published.map(|report| Adopted { result, task_id, report }))
}

/// The newest commit that an earlier attempt has staged and that says all that a report needs.
async fn staged_by_others<R: Repository>(
    repository: &Arc<R>,
    request: &AdoptRequest<'_>,
) -> Result<Option<(Commit, CommitStamp)>, StoreError> {
    let mut newest: Option<(Commit, CommitStamp)> = None;
    for branch in older_branches(repository, request.target.stamp).await? {
        let Some(commit) = commit_if_there(repository, &branch.head).await? else { continue };
        let Some(stamp) = CommitStamp::of(&commit).filter(|stamp| is_adoptable(stamp, request)) else {
            continue;
        };
        // A staging branch without a commit of its own shows what it was made from.
        let is_merge = commit.parents.len() > 1;
        if !is_merge && newest.as_ref().is_none_or(|(_, best)| best.epoch < stamp.epoch) {
            newest = Some((commit, stamp));
        }
    }
    Ok(newest)
}

async fn commit_if_there<R: Repository>(
    repository: &Arc<R>,
    commit: &str,
) -> Result<Option<Commit>, StoreError> {
    match repeated!(repository, repository.commit_of(commit)) {
        Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Whether a commit says what the result of this very attempt would be.
fn is_adoptable(stamp: &CommitStamp, request: &AdoptRequest<'_>) -> bool {
    stamp.work == request.target.stamp.work
        && stamp.epoch < request.target.stamp.epoch
        && stamp.result.is_some()
        && stamp.basis.is_same(&request.target.stamp.basis)
        && request.predecessors.contains(&stamp.task_id)
}

/// What an earlier attempt has published and nothing of this work has touched since. Pure.
fn standing(history: &History, request: &AdoptRequest<'_>) -> Option<Adopted> {
    let kept = |commit: &CommitId| Adopted { result: None, task_id: None, report: report_of(commit) };
    for (place, commit) in history.commits.iter().enumerate() {
        if request.published == Some(commit.id.as_str()) {
            return Some(kept(&commit.id));
        }
        let Some(stamp) = CommitStamp::of(commit).filter(|stamp| stamp.work == request.target.stamp.work)
        else {
            continue;
        };
        // Without a second parent it is a revert of ours.
        let staged = commit.parents.get(1)?;
        // Whoever made it may have died before it saw that another commit had come between, and undid its own.
        let below = History { commits: history.commits[place + 1..].to_vec(), ..history.clone() };
        let is_alone = below.reaches_input && Walk::of(&below, &request.target.stamp.work).foreign_count == 0;
        if request.target.on_moved_head == OnMovedHead::Fail && !is_alone {
            return None;
        }
        if request.staged == Some(staged.as_str()) {
            return Some(kept(&commit.id));
        }
        return is_adoptable(&stamp, request).then(|| Adopted {
            result: stamp.result,
            task_id: Some(stamp.task_id),
            report: report_of(&commit.id),
        });
    }
    let is_input = history.reaches_input && request.published == Some(history.input.as_str());
    is_input.then(|| kept(&history.input))
}

fn report_of(commit: &str) -> PublishReport {
    PublishReport { commit: commit.to_owned(), ..PublishReport::default() }
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
