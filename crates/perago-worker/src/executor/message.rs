//! What supervisor and executor tell each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Supervisor to executor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToExecutor {
    /// Run one body.
    Assign(Box<Assignment>),
    /// Finish what runs and exit.
    Stop,
}

/// One attempt handed to an executor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// The supervisor's own number of this attempt, echoed in every frame about it.
    pub attempt: u64,
    /// Slot of the worker that runs it, from 1.
    pub slot: u32,
    /// Conductor's workflow instance id.
    pub workflow_id: String,
    /// Conductor's task id.
    pub task_id: String,
    /// Reference name of the task in its workflow.
    pub reference_name: String,
    /// Conductor's retry count of the task, from 0.
    pub retry_count: u32,
    /// How often Conductor has handed the task out.
    pub poll_count: i64,
    /// The task's parameters, untouched.
    pub params: Box<RawValue>,
    /// The directory of a workspace task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<PathBuf>,
}

/// Executor to supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromExecutor {
    /// The module is imported; the body can be run. Carries the module's description: task and findings.
    Ready(Box<RawValue>),
    /// The module cannot be used; same content as `Ready`, with the findings that say why.
    Unready(Box<RawValue>),
    /// An assignment has been read: from now on its body may have had effects.
    Started(u64),
    /// A body has ended.
    Ended(Box<Ended>),
    /// A line that a body, a library or the executor logged.
    Log(Box<LogLine>),
}

/// How a body ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The assignment's number.
    pub attempt: u64,
    /// What the body returned, or why there is nothing.
    pub outcome: Outcome,
    /// Seconds that the body itself took, without validation and dispatch.
    pub body_seconds: f64,
    /// Text of the exception with the author's frames, for the worker's log only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
}

/// The outcome of a body as Conductor will see it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The body's result as JSON.
    Completed(Box<RawValue>),
    /// Failed, to be retried as the task definition says.
    Failed(Failure),
    /// Failed for good.
    FailedWithTerminalError(Failure),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code from the contract's failure catalogue.
    pub code: String,
    /// What happened, in one or a few lines, without input values.
    pub reason: String,
}

/// One log record of an executor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    /// The attempt in whose body it was logged, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.
    pub level: String,
    /// Where it comes from: a logger's name, `stdout` or `stderr`.
    pub source: String,
    /// The text.
    pub message: String,
    /// Seconds since the epoch at which it was logged.
    pub time: f64,
    /// Text of the exception logged with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// Structured fields, copied into the record.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::frame;

    #[test]
    fn the_parameters_cross_untouched() {
        let params = r#"{"n":1.10,"big":123456789012345678901234567890}"#;
        let message = ToExecutor::Assign(Box::new(Assignment {
            attempt: 7,
            slot: 1,
            workflow_id: "w".into(),
            task_id: "t".into(),
            reference_name: "r".into(),
            retry_count: 0,
            poll_count: 1,
            params: RawValue::from_string(params.into()).unwrap(),
            workspace: None,
        }));
        let wire = frame::encode(&message).unwrap();
        let Some(ToExecutor::Assign(seen)) = frame::read::<ToExecutor>(&mut wire.as_slice()).unwrap() else {
            panic!("an assignment was sent");
        };
        assert_eq!(seen.params.get(), params);
    }
}
