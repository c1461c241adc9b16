//! Failures of a publication in words: what is on the branch, who was there, what to do.

use perago_contract::FailureCode;

use super::machine::{OwnCommit, PublishFailure};
use crate::error::WorkspaceError;
use crate::stamp::CommitStamp;
use crate::store::{Commit, StoreErrorKind};

/// Keys that a message names; the rest is counted.
const MOST_NAMED: usize = 10;

/// The failure as the attempt reports it.
pub(super) fn explain(branch: &str, failure: &PublishFailure) -> WorkspaceError {
    let new = WorkspaceError::new;
    match failure {
        PublishFailure::LeaseLost(reason) => new(
            FailureCode::LeaseLost,
            format!("the attempt is no longer ours, so it was not published to {branch}: {reason}"),
        ),
        PublishFailure::Superseded { ours } => new(
            FailureCode::LeaseLost,
            format!(
                "a newer attempt at the same task has taken over the publication to {branch}{}",
                own(ours)
            ),
        ),
        PublishFailure::MovedHead { foreign, count, ours } => moved_head(branch, foreign, *count, ours),
        PublishFailure::InputNotInHistory { head, ours } => new(
            FailureCode::PublishFence,
            format!("the input commit is not in the history of {branch}, whose head is {head}{}", own(ours)),
        )
        .with_hint(
            "somebody has reset the branch, or the workflow pairs a commit with a branch that it is not on; \
             start the workflow from a commit of this branch",
        ),
        PublishFailure::Conflict(keys) => new(
            FailureCode::PublishConflict,
            format!("{branch} and this attempt changed the same objects: {}", listed(keys)),
        ),
        PublishFailure::Dirty(answer) => new(
            FailureCode::BranchUnusable,
            format!("{branch} holds uncommitted changes, so nothing can be merged into it: {answer}"),
        )
        .with_hint(format!("commit or reset what is uncommitted on {branch}; the retry publishes then")),
        PublishFailure::Forbidden(answer) => new(
            FailureCode::BranchUnusable,
            format!("{branch} refuses the merge, it is protected or the user may not write: {answer}"),
        ),
        PublishFailure::BranchMissing(answer) => {
            new(FailureCode::BranchUnusable, format!("{branch} cannot be published to: {answer}"))
        }
        PublishFailure::TooManyRounds => new(
            FailureCode::PublishFence,
            format!("older attempts at the same task kept publishing to {branch} at the same time"),
        ),
        PublishFailure::Store(error) => {
            let code = match error.kind() {
                StoreErrorKind::Damaged => FailureCode::WorkspaceCorrupt,
                _ => FailureCode::Workspace,
            };
            new(code, format!("cannot publish to {branch}: {error}")).with_source(error.clone())
        }
    }
}

fn moved_head(branch: &str, foreign: &Commit, count: usize, ours: &OwnCommit) -> WorkspaceError {
    let more = match count {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let message = format!("{branch} has moved: {}{more}{}", named(foreign), own(ours));
    let hint = format!(
        "start the workflow again from the new head of {branch}, or allow \
         WorkspaceSpec(on_moved_head=\"merge\") where writers change different files"
    );
    WorkspaceError::new(FailureCode::PublishFence, message).with_hint(hint)
}

fn named(commit: &Commit) -> String {
    match CommitStamp::of(commit) {
        Some(stamp) => format!(
            "commit {} of task {} ({}, workflow {}, worker {})",
            commit.id, stamp.task_name, stamp.task_id, stamp.work.workflow_instance_id, stamp.worker_id
        ),
        None => format!("commit {} by {} ({:?})", commit.id, commit.committer, commit.message),
    }
}

fn own(ours: &OwnCommit) -> String {
    match ours {
        OwnCommit::None => String::new(),
        OwnCommit::Reverted(commit) => format!("; our commit {commit} was reverted"),
        OwnCommit::Left(commit, reason) => {
            format!("; our commit {commit} could not be reverted and is still there: {reason}")
        }
    }
}

fn listed(keys: &[String]) -> String {
    let named = keys.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match keys.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
