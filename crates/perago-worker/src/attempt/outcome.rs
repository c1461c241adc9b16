//! From the end of a body to the result that Conductor gets.

use perago_conductor::{ResultStatus, Task, TaskLog, TaskResult};
use perago_contract::envelope::{TaskOutput, WorkspaceRef};
use perago_contract::failure::{FailureCode, cut_reason};
use serde_json::value::RawValue;

use crate::executor::message::{Failure, Outcome};
use crate::executor::pool::{BodyEnd, Death};
use crate::guardian::ExitStatus;

/// Above this many bytes the server moves an output to external storage, from where no worker can read it back;
/// above 10 MiB it fails the task.
pub const MAX_OUTPUT_BYTES: usize = 3 * 1024 * 1024;

/// A finished attempt, ready to be reported.
#[derive(Debug)]
pub struct Finished {
    /// What the server gets.
    pub result: TaskResult,
    /// The failure's code, if it failed.
    pub failure_code: Option<String>,
    /// Text of the body's exception, for the worker's log.
    pub exception: Option<String>,
    /// Length of the reason before it was cut, in characters.
    pub reason_cut_from: Option<usize>,
}

impl Finished {
    /// The result of a body that ended, or whose executor did.
    ///
    /// `workspace` is the published workspace of a workspace task that completed.
    pub fn of_body(
        task: &Task,
        worker_id: &str,
        end: BodyEnd,
        workspace: Option<&WorkspaceRef>,
        reason_limit: usize,
    ) -> Self {
        match end {
            BodyEnd::Ended(ended) => {
                let mut finished = Self::of_outcome(task, worker_id, ended.outcome, workspace, reason_limit);
                finished.exception = ended.exception;
                finished
            }
            BodyEnd::Died(death) => Self::failed(task, worker_id, death_failure(&death), reason_limit),
            BodyEnd::NotRead => {
                let death = Death { status: None, last_lines: String::new(), is_stillborn: false };
                Self::failed(task, worker_id, death_failure(&death), reason_limit)
            }
            BodyEnd::Refused(failure) => Self::failed(task, worker_id, failure, reason_limit),
        }
    }

    /// A failure that needed no body. Whether it is terminal stands in the failure catalogue.
    pub fn failed(task: &Task, worker_id: &str, failure: Failure, reason_limit: usize) -> Self {
        let terminal = FailureCode::from_code(&failure.code).is_some_and(FailureCode::is_terminal);
        let status = if terminal { ResultStatus::FailedWithTerminalError } else { ResultStatus::Failed };
        Self::with_reason(task, worker_id, status, failure, reason_limit)
    }

    /// Adds the lines for Conductor's task log.
    pub fn set_logs(&mut self, lines: Vec<TaskLog>) {
        self.result.logs = lines;
    }

    fn of_outcome(
        task: &Task,
        worker_id: &str,
        outcome: Outcome,
        workspace: Option<&WorkspaceRef>,
        reason_limit: usize,
    ) -> Self {
        match outcome {
            Outcome::Completed(returned) => {
                if let Some(failure) = refused_result(&returned) {
                    return Self::failed(task, worker_id, failure, reason_limit);
                }
                let mut result = TaskResult::new(task, worker_id, ResultStatus::Completed);
                let output = match workspace {
                    None => TaskOutput::new(&returned),
                    Some(workspace) => {
                        TaskOutput::with_workspace(workspace, &*workspace.reference, &returned)
                    }
                };
                result.output_data = RawValue::from_string(output.to_json()).ok();
                Self { result, failure_code: None, exception: None, reason_cut_from: None }
            }
            Outcome::Failed(failure) => {
                Self::with_reason(task, worker_id, ResultStatus::Failed, failure, reason_limit)
            }
            Outcome::FailedWithTerminalError(failure) => Self::with_reason(
                task,
                worker_id,
                ResultStatus::FailedWithTerminalError,
                failure,
                reason_limit,
            ),
        }
    }

    fn with_reason(
        task: &Task,
        worker_id: &str,
        status: ResultStatus,
        failure: Failure,
        reason_limit: usize,
    ) -> Self {
        let (reason, reason_cut_from) = cut_reason(&failure.reason, reason_limit);
        let mut result = TaskResult::new(task, worker_id, status);
        result.reason_for_incompletion = Some(reason.to_owned());
        Self { result, failure_code: Some(failure.code), exception: None, reason_cut_from }
    }
}

/// The failure of an attempt whose result Conductor could not hand back.
pub fn refused_result(result: &RawValue) -> Option<Failure> {
    let bytes = result.get().len();
    (bytes > MAX_OUTPUT_BYTES).then(|| Failure {
        code: FailureCode::ResultTooLarge.code().to_owned(),
        reason: format!("the result has {bytes} bytes of JSON; Conductor keeps at most {MAX_OUTPUT_BYTES}"),
    })
}

/// The failure of an attempt whose executor died.
pub fn death_failure(death: &Death) -> Failure {
    let (code, how) = match death.status {
        Some(status @ ExitStatus::Signal(_)) => (FailureCode::ExecutorKilled, status.to_string()),
        Some(status @ ExitStatus::Code(_)) => (FailureCode::ExecutorExited, status.to_string()),
        None => (FailureCode::ExecutorExited, "broke its channel".to_owned()),
    };
    let mut reason = format!("the executor process {how} while it ran the body");
    if !death.last_lines.is_empty() {
        reason.push_str("; its last output:\n");
        reason.push_str(&death.last_lines);
    }
    Failure { code: code.code().to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::message::Ended;

    fn task() -> Task {
        Task { task_id: "t".into(), workflow_instance_id: "w".into(), ..Task::default() }
    }

    fn ended(outcome: Outcome) -> BodyEnd {
        BodyEnd::Ended(Box::new(Ended { attempt: 1, outcome, body_seconds: 0.0, exception: None }))
    }

    #[test]
    fn a_result_goes_through_untouched() {
        let output = RawValue::from_string(r#"{"x":1.0}"#.into()).unwrap();
        let finished = Finished::of_body(&task(), "me", ended(Outcome::Completed(output)), None, 500);
        assert_eq!(finished.result.status, ResultStatus::Completed);
        assert_eq!(finished.result.output_data.unwrap().get(), r#"{"result":{"x":1.0}}"#);
    }

    #[test]
    fn a_result_that_could_not_be_read_back_is_refused_for_good() {
        let output = RawValue::from_string(format!("\"{}\"", "x".repeat(MAX_OUTPUT_BYTES))).unwrap();
        let finished = Finished::of_body(&task(), "me", ended(Outcome::Completed(output)), None, 500);
        assert_eq!(finished.result.status, ResultStatus::FailedWithTerminalError);
        assert_eq!(finished.failure_code.as_deref(), Some("result_too_large"));
        assert!(finished.result.output_data.is_none());
    }

    #[test]
    fn a_death_names_the_signal_and_the_last_lines() {
        let status = Some(ExitStatus::Signal(11));
        let death = Death { status, last_lines: "boom".into(), is_stillborn: false };
        let finished = Finished::of_body(&task(), "me", BodyEnd::Died(death), None, 500);
        assert_eq!(finished.result.status, ResultStatus::Failed);
        let reason = finished.result.reason_for_incompletion.unwrap();
        assert!(reason.contains("SIGSEGV") && reason.ends_with("boom"), "{reason}");
    }

    #[test]
    fn reasons_are_cut_to_the_setting() {
        let failure = Failure { code: "body_raised".into(), reason: "0123456789".into() };
        let finished = Finished::of_body(&task(), "me", ended(Outcome::Failed(failure)), None, 4);
        assert_eq!(finished.result.reason_for_incompletion.as_deref(), Some("0123"));
        assert_eq!(finished.reason_cut_from, Some(10));
    }
}
