//! Whose task it is, by what the server shows of it.

use perago_conductor::{Error, Task, TaskResult, TaskStatus};

use super::machine::{LostReason, Ownership, ReadBack};
use crate::outbox::{Claim, is_delivered};

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

/// What the server shows of a result that is to be reported, or was: ours if it is not there and the task is.
pub(crate) fn read_back(
    claim: &Claim,
    read: &Result<Option<Task>, Error>,
    result: Option<&TaskResult>,
) -> ReadBack {
    match (ownership(claim, read), read, result) {
        (Ownership::Unreachable, ..) => ReadBack::Unreachable,
        (Ownership::Ours, ..) => ReadBack::Undone,
        (Ownership::Lost(LostReason::Terminal), Ok(Some(task)), Some(result))
            if is_delivered(task, claim, result) =>
        {
            ReadBack::Settled
        }
        (Ownership::Lost(reason), ..) => ReadBack::Ended(reason),
    }
}

/// How the server shows the task, if it does.
pub(crate) fn status_of(read: &Result<Option<Task>, Error>) -> Option<TaskStatus> {
    read.as_ref().ok().and_then(Option::as_ref).map(|task| task.status)
}

fn is_of_claim(claim: &Claim, shown: &Task) -> bool {
    shown.status == TaskStatus::InProgress
        && shown.workflow_instance_id == claim.workflow_instance_id
        && shown.task_id == claim.task_id
        && shown.retry_count == claim.retry_count
        && shown.poll_count == claim.poll_count
}
