//! What becomes of an attempt's result when the attempt ends.

use perago_conductor::TaskStatus;
use serde_json::Value;

use super::Attempt;
use crate::attempt::machine::Closing;
use crate::attempt::outcome::Finished;
use crate::executor::message::Outcome;
use crate::executor::pool::BodyEnd;
use crate::logs::{Level, Record};
use crate::outbox::{Entry, Outbox, reason_of};
use crate::worker_instruments::AttemptOutcome;

/// What a result that is kept is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It can stand for another attempt.
    Whole,
    /// Its body ended after it had been told to stop: it may be half of one.
    Doubtful,
}

impl Attempt {
    pub(super) fn close(&self, closing: Closing) {
        let (context, entry) = (&self.context, self.entry);
        context.instruments.attempt_closed(&outcome(closing, self.finished.as_deref()));
        // What the server does not take back now, the next start gives back.
        let is_left_open = closing == Closing::Released && !self.is_given_back;
        let left = context.outbox.entry(entry).filter(|_| !is_left_open);
        let kept = left.and_then(|left| kept_reason(closing, &left, self.shown.get()));
        match closing {
            // The next start of a worker on this state directory delivers it.
            Closing::Waiting => {
                let message = "the result is not delivered yet; the next start of this worker delivers it";
                self.log(Level::Warning, "result_waits", message, |record| record);
            }
            _ if is_left_open => {}
            _ => settle_entry(&context.outbox, entry, kept.as_deref(), self.worth),
        }
        match (closing, kept) {
            (Closing::Undeliverable, _) => {
                let output = self.finished.as_ref().and_then(|done| done.result.output_data.as_ref());
                let output = output.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
                let message = "the result could not be delivered";
                self.log(Level::Error, "result_undelivered", message, |record: Record| {
                    record.with_some("output", output)
                });
            }
            (Closing::Superseded(_) | Closing::Lost(_) | Closing::Released, Some(reason)) => {
                let message = "the server does not take the result; it is kept";
                self.log(Level::Warning, "result_superseded", message, |record| {
                    record.with("reason", reason)
                });
            }
            _ => {}
        }
    }

    /// Writes down what a body has returned although its task was not ours any more.
    pub(super) fn keep_result(&mut self, end: BodyEnd) {
        let BodyEnd::Ended(ended) = end else { return };
        let Outcome::Completed(result) = &ended.outcome else { return };
        let context = &self.context;
        if context.outbox.has_result(self.entry) {
            return;
        }
        // It was told to stop before it ended, or about then.
        self.worth = Worth::Doubtful;
        if context.workspaces.is_some() {
            context.outbox.returned(self.entry, result);
            return;
        }
        let end = BodyEnd::Ended(ended);
        let finished = Finished::of_body(&self.task, &context.worker_id, end, None, context.reason_limit);
        context.outbox.finished(self.entry, &finished.result, finished.failure_code.as_deref());
    }
}

/// Closes the entry of an attempt that has ended, or keeps its result with the reason.
pub(crate) fn settle_entry(outbox: &Outbox, entry: u64, kept: Option<&str>, worth: Worth) {
    match kept {
        None => outbox.closed(entry),
        Some(reason) if worth == Worth::Doubtful => outbox.kept_in_doubt(entry, reason),
        Some(reason) => outbox.kept(entry, reason),
    }
}

/// Why a result is kept; none when there is nothing to keep.
pub(crate) fn kept_reason(closing: Closing, entry: &Entry, shown: Option<TaskStatus>) -> Option<String> {
    let has_result = entry.returned.is_some() || entry.outcome.is_some();
    match closing {
        Closing::Delivered | Closing::Waiting => None,
        Closing::Undeliverable => Some("the server refuses it".to_owned()),
        Closing::Superseded(reason) => Some(reason_of(entry, reason, shown)),
        Closing::Lost(reason) => has_result.then(|| reason_of(entry, reason, shown)),
        Closing::Released => {
            has_result.then(|| "the task was given back before its workspace was published".to_owned())
        }
    }
}

/// What the attempt's end is for the metrics of the worker.
fn outcome(closing: Closing, finished: Option<&Finished>) -> AttemptOutcome {
    match closing {
        Closing::Lost(_) => AttemptOutcome::Lost,
        Closing::Superseded(_) => AttemptOutcome::Superseded,
        Closing::Undeliverable | Closing::Waiting => AttemptOutcome::Undelivered,
        Closing::Released => AttemptOutcome::Released,
        Closing::Delivered => match finished.and_then(|finished| finished.failure_code.clone()) {
            None => AttemptOutcome::Completed,
            Some(code) => AttemptOutcome::Failed(code),
        },
    }
}
