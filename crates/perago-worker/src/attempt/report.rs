//! Tells Conductor the outcome of an attempt.

use perago_conductor::Task;

use super::drive::Context;
use super::machine::UpdateAnswer;
use super::outcome::Finished;
use crate::kill_point::{Step, around};
use crate::logs::{Level, Record};

/// Reports an outcome once; what to make of a failure is the attempt's to decide.
pub(super) async fn report(context: &Context, number: u64, task: &Task, finished: &Finished) -> UpdateAnswer {
    match around(Step::Report, context.client.update_task(&finished.result)).await {
        Ok(()) => UpdateAnswer::Accepted,
        Err(error) => {
            let retryable = error.is_retryable();
            context.logger.write(
                context
                    .open
                    .label(number, Record::new(Level::Warning, "update_failed", error.to_string()))
                    .with("task_id", task.task_id.as_str())
                    .with("retryable", retryable),
            );
            if retryable { UpdateAnswer::Retryable } else { UpdateAnswer::Permanent }
        }
    }
}
