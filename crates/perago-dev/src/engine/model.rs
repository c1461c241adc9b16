//! The engine's records: runs and task attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::queue::Placement;
use super::raw::Raw;
use super::task_definition::TaskDefinition;
use super::workflow_definition::WorkflowDefinition;

/// State of a task attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Waiting for a poll.
    Scheduled,
    /// Claimed by a worker.
    InProgress,
    /// Done.
    Completed,
    /// An optional task that failed.
    CompletedWithErrors,
    /// Failed; retried while retries are left.
    Failed,
    /// Failed for good.
    FailedWithTerminalError,
    /// Taken back with its run, or given up by the worker.
    Canceled,
    /// A timeout fired.
    TimedOut,
}

impl TaskStatus {
    /// Whether nothing can change the attempt any more.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Scheduled | Self::InProgress)
    }

    /// Whether the run goes on to the next step.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithErrors)
    }
}

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkflowStatus {
    /// Going on.
    Running,
    /// All steps done.
    Completed,
    /// A step failed for good.
    Failed,
    /// A timeout ended it.
    TimedOut,
    /// Somebody ended it.
    Terminated,
    /// Schedules nothing until resumed.
    Paused,
}

impl WorkflowStatus {
    /// Whether the run is over.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Running | Self::Paused)
    }

    /// The wire name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Terminated => "TERMINATED",
            Self::Paused => "PAUSED",
        }
    }
}

/// One line of a task's log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Text.
    pub log: String,
    /// The attempt it belongs to.
    pub task_id: String,
    /// Epoch milliseconds as the client sent them; 0 if it did not.
    pub created_time: i64,
}

/// One step of a plan, everything that does not change during a run rendered once.
#[derive(Debug)]
pub(super) struct Step {
    /// Task type.
    pub name: Arc<str>,
    /// Name inside the workflow.
    pub reference: String,
    /// The task definition as it was when the run started.
    pub definition: TaskDefinition,
    /// Retries that this step gets.
    pub retry_count: i64,
    /// Template of the input.
    pub template: serde_json::Value,
    /// Whether failure lets the run go on.
    pub optional: bool,
    /// Seconds before the step is handed out first.
    pub start_delay_seconds: i64,
    /// `taskDefinition` as JSON.
    pub definition_json: Raw,
    /// `workflowTask` as JSON.
    pub workflow_task_json: Raw,
}

/// A workflow definition with the task definitions it was started with; shared by its runs.
#[derive(Debug)]
pub(super) struct Plan {
    /// The definition.
    pub definition: WorkflowDefinition,
    /// Template of the run's output.
    pub output_template: serde_json::Value,
    /// Its steps.
    pub steps: Vec<Step>,
    /// `workflowDefinition` as JSON.
    pub definition_json: Raw,
}

/// One run.
#[derive(Debug)]
pub(super) struct Workflow {
    /// Identifier.
    pub id: Uuid,
    /// What it runs.
    pub plan: Arc<Plan>,
    /// State.
    pub status: WorkflowStatus,
    /// Input.
    pub input: Raw,
    /// Output.
    pub output: Raw,
    /// Caller's own identifier.
    pub correlation_id: Option<String>,
    /// 0 to 99; higher is handed out earlier.
    pub priority: u8,
    /// Domain for each task type, or for `*`.
    pub task_to_domain: BTreeMap<String, String>,
    /// Attempts in the order of their scheduling.
    pub tasks: Vec<Uuid>,
    /// Epoch milliseconds.
    pub create_time: i64,
    /// Epoch milliseconds.
    pub update_time: i64,
    /// Epoch milliseconds; 0 before the end.
    pub end_time: i64,
    /// Epoch milliseconds; 0 if never retried.
    pub last_retried_time: i64,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// Reference names of failed steps.
    pub failed_reference_names: Vec<String>,
    /// Task types of failed steps.
    pub failed_task_names: Vec<String>,
    /// When the next evaluation is due, if one is.
    pub timer: Option<i64>,
}

/// One attempt of a step.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about an attempt")]
pub(super) struct Task {
    /// Identifier, new for each attempt.
    pub id: Uuid,
    /// Its run.
    pub workflow: Uuid,
    /// Index into the plan's steps.
    pub step: usize,
    /// State.
    pub status: TaskStatus,
    /// Input.
    pub input: Raw,
    /// Output.
    pub output: Raw,
    /// Number of the attempt, from 0.
    pub retry_count: i64,
    /// Position over the whole run, from 1.
    pub sequence: i64,
    /// How often it was claimed.
    pub poll_count: i64,
    /// Epoch milliseconds.
    pub scheduled_time: i64,
    /// Epoch milliseconds when the first attempt of this step was scheduled.
    pub first_scheduled_time: i64,
    /// Epoch milliseconds of the first claim; 0 before.
    pub start_time: i64,
    /// Epoch milliseconds; 0 before the end.
    pub end_time: i64,
    /// Epoch milliseconds of the last sign of life.
    pub update_time: i64,
    /// Seconds that a retry waits.
    pub start_delay_seconds: i64,
    /// The attempt that this one replaces.
    pub replaces: Option<Uuid>,
    /// Whether another attempt replaces this one.
    pub retried: bool,
    /// Whether the run has taken note of the end.
    pub executed: bool,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// Seconds until it is handed out again.
    pub callback_after_seconds: i64,
    /// Who claimed it last.
    pub worker_id: Option<String>,
    /// Domain of its queue.
    pub domain: Option<Arc<str>>,
    /// Log lines.
    pub logs: Vec<LogLine>,
    /// Bytes of those.
    pub log_bytes: usize,
    /// Whether the input is shown by reference only.
    pub external_input: bool,
    /// Whether the output is shown by reference only.
    pub external_output: bool,
    /// Where in its queue it is.
    pub placement: Placement,
    /// Whether it counts against the limit of concurrent attempts.
    pub holds_slot: bool,
}

impl Task {
    /// Approximate bytes held.
    pub(super) fn weight(&self) -> usize {
        512 + self.input.byte_length() + self.output.byte_length() + self.log_bytes
    }
}
