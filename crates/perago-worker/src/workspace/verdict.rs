//! Whether an attempt that has left something is dead, by what its Conductor shows of the task.

use perago_conductor::{Error, Task};
use perago_workspace::{Epoch, Verdict};

/// Judges an attempt of `epoch` by the answer to a read of its task.
///
/// Only an answer about the task proves anything: a server that cannot be reached says nothing, and neither does one
/// that does not know the task, because it may be another one, or have archived it.
pub fn judge(epoch: Epoch, shown: &Result<Option<Task>, Error>) -> Verdict {
    let Ok(Some(task)) = shown else { return Verdict::Unproven };
    let is_claimed_again = number(task.poll_count) > epoch.poll_count;
    let is_retried = number(task.retry_count) > epoch.retry_count;
    if task.status.is_terminal() || is_claimed_again || is_retried {
        Verdict::Dead
    } else {
        Verdict::Unproven
    }
}

fn number(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use perago_conductor::TaskStatus;

    use super::*;

    fn task(status: TaskStatus, retry_count: i64, poll_count: i64) -> Task {
        Task { status, retry_count, poll_count, ..Task::default() }
    }

    #[test]
    fn only_the_end_or_a_later_claim_proves_death() {
        let epoch = Epoch { retry_count: 1, poll_count: 2 };
        for (shown, wanted) in [
            (Some(task(TaskStatus::InProgress, 1, 2)), Verdict::Unproven),
            (Some(task(TaskStatus::Scheduled, 1, 2)), Verdict::Unproven),
            (Some(task(TaskStatus::Completed, 1, 2)), Verdict::Dead),
            (Some(task(TaskStatus::TimedOut, 1, 2)), Verdict::Dead),
            (Some(task(TaskStatus::InProgress, 1, 3)), Verdict::Dead),
            (Some(task(TaskStatus::InProgress, 2, 0)), Verdict::Dead),
            (None, Verdict::Unproven),
        ] {
            let shown = Ok(shown);
            assert_eq!(judge(epoch, &shown), wanted, "{shown:?}");
        }
    }
}
