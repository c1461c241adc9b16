//! Whose task it is, by what the server shows of it.

use perago_conductor::{Error, Task, TaskStatus};

use super::machine::{LostReason, Ownership, ReadBack};
use crate::outbox::Claim;

/// Compares what the server shows with a claim.
pub(crate) fn ownership(claim: &Claim, read: &Result<Option<Task>, Error>) -> Ownership {
    match read {
        Err(_) => Ownership::Unreachable,
        Ok(None) => Ownership::Lost(LostReason::Unknown),
        Ok(Some(shown)) if shown.status.is_terminal() => Ownership::Lost(LostReason::Terminal),
        Ok(Some(shown)) if is_of_claim(claim, shown) => Ownership::Ours,
        Ok(Some(_)) => Ownership::Lost(LostReason::ClaimedAgain),
    }
}

/// Compares what the server shows after a report with the claim that was reported.
pub(crate) fn read_back(claim: &Claim, read: &Result<Option<Task>, Error>) -> ReadBack {
    match ownership(claim, read) {
        Ownership::Unreachable => ReadBack::Unreachable,
        Ownership::Ours => ReadBack::Undone,
        Ownership::Lost(LostReason::ClaimedAgain) => ReadBack::ClaimedAgain,
        Ownership::Lost(LostReason::Terminal | LostReason::Unknown) => ReadBack::Settled,
    }
}

fn is_of_claim(claim: &Claim, shown: &Task) -> bool {
    shown.status == TaskStatus::InProgress
        && shown.workflow_instance_id == claim.workflow_instance_id
        && shown.task_id == claim.task_id
        && shown.retry_count == claim.retry_count
        && shown.poll_count == claim.poll_count
}
