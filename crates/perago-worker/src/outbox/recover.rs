//! What becomes of what an earlier supervisor has left open, by what the server shows of the task.

use std::rc::Rc;
use std::time::Duration;

use perago_conductor::{Backoff, Error, ResultStatus, Task, TaskResult, TaskStatus};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::entry::{Claim, Entry, OwedOutcome};
use super::{Outbox, adoptable};
use crate::attempt::drive::Context;
use crate::attempt::machine::{LostReason, Ownership};
use crate::attempt::ownership::ownership;
use crate::logs::{Level, Record};

const RETRY: Backoff = Backoff { initial: Duration::from_secs(1), maximum: Duration::from_secs(30) };

/// A beat that the earlier supervisor had under way may undo a delivery this long afterwards.
const LATE_BEAT_READ_BACKS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// How an entry was settled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The server has the outcome.
    Delivered,
    /// The task waits in the queue again: its body had not finished.
    Released,
    /// There was no outcome, and the server will never take the task back, for this reason.
    Refused(String),
    /// There was no outcome, and the task is not ours any more.
    Nothing,
    /// There is an outcome that the server will never take.
    Kept(String),
}

/// Settles one entry, however long the server cannot be reached; what is not settled when `stop` turns true stays open.
///
/// No task is given back before `polls_ended`: a poll that the earlier worker had under way would claim it for nobody.
pub async fn resolve(
    context: Rc<Context>,
    (number, entry): (u64, Entry),
    polls_ended: Instant,
    mut stop: watch::Receiver<bool>,
) {
    let settled = tokio::select! {
        settled = settle(&context, &entry, polls_ended) => settled,
        _ = stop.wait_for(|now| *now) => return,
    };
    let (level, event, message) = match &settled {
        Settled::Delivered => {
            (Level::Info, "result_recovered", "a result of the earlier worker is delivered")
        }
        Settled::Released => {
            (Level::Info, "task_recovered", "a task of the earlier worker is given back to the queue")
        }
        Settled::Refused(_) => {
            (Level::Error, "release_refused", "a task of the earlier worker can never be given back")
        }
        Settled::Nothing => {
            (Level::Info, "task_forgotten", "a task of the earlier worker is not ours any more")
        }
        Settled::Kept(_) => (Level::Error, "result_kept", "a result can never be delivered and is kept"),
    };
    let mut record = Record::new(level, event, message)
        .with("task_name", entry.claim.task_name.as_str())
        .with("workflow_instance_id", entry.claim.workflow_instance_id.as_str())
        .with("task_id", entry.claim.task_id.as_str())
        .with("retry_count", entry.claim.retry_count);
    if let Some(reason) = write_down(&context.outbox, (number, &entry), &settled) {
        record = record.with("reason", reason);
    }
    context.logger.write(record);
}

/// Closes the entry, or keeps it, because a retry that we are handed may adopt it. Returns why it was not settled as it
/// should have been.
pub(crate) fn write_down(
    outbox: &Outbox,
    (number, entry): (u64, &Entry),
    settled: &Settled,
) -> Option<String> {
    let reason = match settled {
        Settled::Kept(reason) => reason.clone(),
        Settled::Released | Settled::Refused(_) | Settled::Nothing if entry.returned.is_some() => {
            unpublished(entry)
        }
        Settled::Refused(reason) => {
            outbox.closed(number);
            return Some(reason.clone());
        }
        _ => {
            outbox.closed(number);
            return None;
        }
    };
    outbox.kept(number, &reason);
    Some(reason)
}

/// Why the result of a workspace task whose body had returned was not reported.
fn unpublished(entry: &Entry) -> String {
    match &entry.staged {
        Some(staged) => format!("the worker ended while it published commit {}", staged.commit),
        None => {
            "the worker ended before anything of its workspace was staged: the body runs again".to_owned()
        }
    }
}

/// What to do next about an entry.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// The server says nothing.
    AskAgain,
    /// Report the outcome: the task is still ours.
    Deliver(&'a OwedOutcome),
    /// Give the task back: it is still ours, and there is no outcome.
    Release(&'a Task),
    /// Nothing is left to do.
    Settle(Settled),
}

/// Decides by what the server shows.
pub(crate) fn step<'a>(entry: &'a Entry, shown: &'a Result<Option<Task>, Error>) -> Step<'a> {
    let task = shown.as_ref().ok().and_then(Option::as_ref);
    match (ownership(&entry.claim, shown), &entry.outcome, task) {
        (Ownership::Ours, Some(outcome), _) => Step::Deliver(outcome),
        (Ownership::Ours, None, Some(task)) => Step::Release(task),
        (Ownership::Lost(reason), Some(outcome), _) => Step::Settle(of_lost(entry, reason, shown, outcome)),
        (Ownership::Lost(_), None, _) => Step::Settle(Settled::Nothing),
        (Ownership::Unreachable | Ownership::Ours, ..) => Step::AskAgain,
    }
}

async fn settle(context: &Context, entry: &Entry, polls_ended: Instant) -> Settled {
    if entry.outcome.is_none() {
        tokio::time::sleep_until(polls_ended).await;
    }
    let mut failures = 0;
    loop {
        let shown = context.client.get_task(&entry.claim.task_id).await;
        let settled = match step(entry, &shown) {
            Step::AskAgain => None,
            Step::Deliver(outcome) => deliver(context, entry, outcome).await,
            Step::Release(task) => release(context, task).await,
            Step::Settle(settled) => Some(settled),
        };
        if let Some(settled) = settled {
            return settled;
        }
        if failures == 0 {
            let message = "the server does not settle what an earlier worker left; asking again";
            let record = Record::new(Level::Warning, "recovery_waits", message)
                .with("task_id", entry.claim.task_id.as_str())
                .with_some("error", shown.err().map(|error| error.to_string()));
            context.logger.write(record);
        }
        tokio::time::sleep(RETRY.delay(failures, 0.5 + fastrand::f64() / 2.0)).await;
        failures = failures.saturating_add(1);
    }
}

/// Reports an outcome of a task that is still ours, and watches that it stays reported. `None`: look again.
async fn deliver(context: &Context, entry: &Entry, outcome: &OwedOutcome) -> Option<Settled> {
    match context.client.update_task(&outcome.result).await {
        Ok(()) => {}
        Err(error) if error.is_retryable() => return None,
        Err(error) => return Some(Settled::Kept(format!("the server refuses it: {error}"))),
    }
    for pause in LATE_BEAT_READ_BACKS {
        tokio::time::sleep(pause).await;
        let shown = context.client.get_task(&entry.claim.task_id).await;
        match ownership(&entry.claim, &shown) {
            Ownership::Ours => return None,
            Ownership::Unreachable | Ownership::Lost(_) => {}
        }
    }
    Some(Settled::Delivered)
}

/// Gives a task back whose body died with the earlier supervisor. `None`: look again.
async fn release(context: &Context, task: &Task) -> Option<Settled> {
    match context.client.update_task(&TaskResult::release(task, &context.worker_id)).await {
        Ok(()) => Some(Settled::Released),
        Err(error) if error.is_retryable() => None,
        Err(error) => Some(Settled::Refused(format!("the server refuses to take it back: {error}"))),
    }
}

fn of_lost(
    entry: &Entry,
    reason: LostReason,
    shown: &Result<Option<Task>, Error>,
    outcome: &OwedOutcome,
) -> Settled {
    let task = shown.as_ref().ok().and_then(Option::as_ref);
    match task {
        Some(task) if is_delivered(task, &entry.claim, &outcome.result) => Settled::Delivered,
        _ => Settled::Kept(reason_of(entry, reason, task.map(|task| task.status))),
    }
}

/// Why the outcome of an attempt can never be delivered, and what of it is on a branch all the same.
pub(crate) fn reason_of(entry: &Entry, reason: LostReason, status: Option<TaskStatus>) -> String {
    let mut text = match (reason, status) {
        (LostReason::Unknown, _) => "the server does not know the task any more".to_owned(),
        (LostReason::ClaimedAgain, _) => "the task was given to another worker".to_owned(),
        (LostReason::Terminal, Some(status)) => format!("the task ended without it: {}", name_of(status)),
        (LostReason::Terminal, None) => "the task ended without it".to_owned(),
    };
    if let Some(staged) = &entry.staged {
        let what = match adoptable::published(entry) {
            Some(commit) => format!("; its workspace is published as commit {commit}"),
            None => format!("; its workspace was staged as commit {}", staged.commit),
        };
        text.push_str(&what);
    }
    text
}

/// Whether the server shows what was reported. It may have left out what is empty, so that its output need not be ours
/// to the letter: then it is ours if nobody else has claimed the task or signed for it.
pub(crate) fn is_delivered(task: &Task, claim: &Claim, result: &TaskResult) -> bool {
    let wanted = match result.status {
        ResultStatus::InProgress => return false,
        ResultStatus::Completed => TaskStatus::Completed,
        ResultStatus::Failed => TaskStatus::Failed,
        ResultStatus::FailedWithTerminalError => TaskStatus::FailedWithTerminalError,
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let is_ours =
        task.poll_count == claim.poll_count && task.worker_id.as_deref() == Some(result.worker_id.as_str());
    let is_same = match &result.output_data {
        None => true,
        Some(output) => json(output.get()) == json(task.output_data.get()),
    };
    // What may fail without failing its run is shown so.
    let is_forgiven = task.status == TaskStatus::CompletedWithErrors && wanted != TaskStatus::Completed;
    (task.status == wanted || is_forgiven) && (is_ours || is_same)
}

fn name_of(status: TaskStatus) -> String {
    serde_json::to_value(status).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
