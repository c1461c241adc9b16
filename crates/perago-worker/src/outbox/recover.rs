//! What becomes of what an earlier supervisor has left open, by what the server shows of the task.

use std::rc::Rc;
use std::time::Duration;

use perago_conductor::{Backoff, Error, ResultStatus, Task, TaskResult, TaskStatus};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::entry::{Entry, Outcome};
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
enum Settled {
    /// The server has the outcome.
    Delivered,
    /// The task waits in the queue again: its body had not finished.
    Released,
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
    match settled {
        Settled::Kept(reason) => {
            context.outbox.kept(number, &reason);
            record = record.with("reason", reason);
        }
        _ => context.outbox.closed(number),
    }
    context.logger.write(record);
}

async fn settle(context: &Context, entry: &Entry, polls_ended: Instant) -> Settled {
    if entry.outcome.is_none() {
        tokio::time::sleep_until(polls_ended).await;
    }
    let mut failures = 0;
    loop {
        let shown = context.client.get_task(&entry.claim.task_id).await;
        let step = match (ownership(&entry.claim, &shown), &entry.outcome) {
            (Ownership::Unreachable, _) => None,
            (Ownership::Ours, Some(outcome)) => deliver(context, entry, outcome).await,
            (Ownership::Ours, None) => release(context, &shown).await,
            (Ownership::Lost(reason), Some(outcome)) => Some(of_lost(reason, &shown, outcome)),
            (Ownership::Lost(_), None) => Some(Settled::Nothing),
        };
        if let Some(settled) = step {
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
async fn deliver(context: &Context, entry: &Entry, outcome: &Outcome) -> Option<Settled> {
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
async fn release(context: &Context, shown: &Result<Option<Task>, Error>) -> Option<Settled> {
    let Ok(Some(task)) = shown else { return None };
    let released = context.client.update_task(&TaskResult::release(task, &context.worker_id)).await;
    released.is_ok().then_some(Settled::Released)
}

fn of_lost(reason: LostReason, shown: &Result<Option<Task>, Error>, outcome: &Outcome) -> Settled {
    let Ok(Some(task)) = shown else {
        return Settled::Kept("the server does not know the task any more".to_owned());
    };
    if is_delivered(task, &outcome.result) {
        return Settled::Delivered;
    }
    Settled::Kept(match reason {
        LostReason::ClaimedAgain => "the task was given to another worker".to_owned(),
        _ => format!("the task ended without it: {}", name_of(task.status)),
    })
}

/// Whether the server shows what was reported.
fn is_delivered(task: &Task, result: &TaskResult) -> bool {
    let wanted = match result.status {
        ResultStatus::InProgress => return false,
        ResultStatus::Completed => TaskStatus::Completed,
        ResultStatus::Failed => TaskStatus::Failed,
        ResultStatus::FailedWithTerminalError => TaskStatus::FailedWithTerminalError,
    };
    let json = |text: Option<&str>| text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    task.status == wanted
        && match &result.output_data {
            None => true,
            Some(output) => json(Some(output.get())) == json(Some(task.output_data.get())),
        }
}

fn name_of(status: TaskStatus) -> String {
    serde_json::to_value(status).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
