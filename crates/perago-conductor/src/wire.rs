//! What goes over the wire. Unknown fields are ignored, absent and null ones take defaults, times are epoch
//! milliseconds and durations seconds.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// State of a task as the server shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum TaskStatus {
    /// Queued.
    Scheduled,
    /// Claimed by a poll.
    InProgress,
    /// Done.
    Completed,
    /// Failed but optional.
    CompletedWithErrors,
    /// Failed; a retry may follow.
    Failed,
    /// Failed for good.
    FailedWithTerminalError,
    /// Cancelled with its workflow.
    Canceled,
    /// Lost by a timeout.
    TimedOut,
    /// Skipped by an operator.
    Skipped,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl TaskStatus {
    /// Whether the task can no longer change.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Scheduled | Self::InProgress | Self::Unknown)
    }
}

/// State of a workflow run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum WorkflowStatus {
    /// In progress.
    Running,
    /// Done.
    Completed,
    /// Failed.
    Failed,
    /// Timed out.
    TimedOut,
    /// Ended by an operator.
    Terminated,
    /// Held by an operator.
    Paused,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl WorkflowStatus {
    /// Whether the run has ended.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::TimedOut | Self::Terminated)
    }
}

/// A task as polled or read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// Type, which is also the queue.
    #[serde(deserialize_with = "or_default")]
    pub task_type: String,
    /// Name of its definition.
    #[serde(deserialize_with = "or_default")]
    pub task_def_name: String,
    /// Id of this attempt; a retry has another.
    #[serde(deserialize_with = "or_default")]
    pub task_id: String,
    /// Id of the run.
    #[serde(deserialize_with = "or_default")]
    pub workflow_instance_id: String,
    /// Name of the workflow definition.
    pub workflow_type: Option<String>,
    /// Name of the task within the workflow.
    #[serde(deserialize_with = "or_default")]
    pub reference_task_name: String,
    /// State.
    #[serde(deserialize_with = "or_default")]
    pub status: TaskStatus,
    /// Input, as received.
    #[serde(deserialize_with = "raw_or_object")]
    pub input_data: Box<RawValue>,
    /// Output, as received.
    #[serde(deserialize_with = "raw_or_object")]
    pub output_data: Box<RawValue>,
    /// Where the input was moved, if it was too large.
    pub external_input_payload_storage_path: Option<String>,
    /// Where the output was moved, if it was too large.
    pub external_output_payload_storage_path: Option<String>,
    /// Number of the retry, 0 at first.
    #[serde(deserialize_with = "or_default")]
    pub retry_count: i64,
    /// Whether a retry has replaced this attempt.
    #[serde(deserialize_with = "or_default")]
    pub retried: bool,
    /// Attempt that this one retries.
    pub retried_task_id: Option<String>,
    /// How often this attempt was claimed.
    #[serde(deserialize_with = "or_default")]
    pub poll_count: i64,
    /// Position in the run.
    #[serde(deserialize_with = "or_default")]
    pub seq: i64,
    /// Round of a loop, 0 outside of one.
    #[serde(deserialize_with = "or_default")]
    pub iteration: i64,
    /// When it was queued.
    #[serde(deserialize_with = "or_default")]
    pub scheduled_time: i64,
    /// When it was first claimed.
    #[serde(deserialize_with = "or_default")]
    pub start_time: i64,
    /// When it last changed or was beaten.
    #[serde(deserialize_with = "or_default")]
    pub update_time: i64,
    /// When it ended.
    #[serde(deserialize_with = "or_default")]
    pub end_time: i64,
    /// Lease in seconds.
    #[serde(deserialize_with = "or_default")]
    pub response_timeout_seconds: i64,
    /// Delay in seconds before it is offered again.
    #[serde(deserialize_with = "or_default")]
    pub callback_after_seconds: i64,
    /// Milliseconds between queueing and claim.
    #[serde(deserialize_with = "or_default")]
    pub queue_wait_time: i64,
    /// Priority of the run.
    #[serde(deserialize_with = "or_default")]
    pub workflow_priority: i64,
    /// Who claimed it.
    pub worker_id: Option<String>,
    /// Queue domain.
    pub domain: Option<String>,
    /// Id of the caller of the run.
    pub correlation_id: Option<String>,
    /// Why it failed; a retry carries the reason of the failed attempt.
    pub reason_for_incompletion: Option<String>,
}

/// A task read back for a fence or after an update.
pub type TaskSnapshot = Task;

impl Default for Task {
    fn default() -> Self {
        Self {
            task_type: String::new(),
            task_def_name: String::new(),
            task_id: String::new(),
            workflow_instance_id: String::new(),
            workflow_type: None,
            reference_task_name: String::new(),
            status: TaskStatus::default(),
            input_data: empty_object(),
            output_data: empty_object(),
            external_input_payload_storage_path: None,
            external_output_payload_storage_path: None,
            retry_count: 0,
            retried: false,
            retried_task_id: None,
            poll_count: 0,
            seq: 0,
            iteration: 0,
            scheduled_time: 0,
            start_time: 0,
            update_time: 0,
            end_time: 0,
            response_timeout_seconds: 0,
            callback_after_seconds: 0,
            queue_wait_time: 0,
            workflow_priority: 0,
            worker_id: None,
            domain: None,
            correlation_id: None,
            reason_for_incompletion: None,
        }
    }
}

/// State that a worker reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResultStatus {
    /// Gives the claim back: the task is queued again.
    InProgress,
    /// Done.
    Completed,
    /// Failed; retried by the definition.
    Failed,
    /// Failed for good.
    FailedWithTerminalError,
}

/// One line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskLog {
    /// The text.
    pub log: String,
    /// When it was written; the server sorts by it.
    pub created_time: i64,
}

/// What a worker reports: the body of `POST /tasks`. The server replaces whole fields by what is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskResult {
    /// Id of the task's own run: that of another run is accepted and stalls this one.
    pub workflow_instance_id: String,
    /// Id of the attempt.
    pub task_id: String,
    /// Who reports.
    pub worker_id: String,
    /// Outcome.
    pub status: ResultStatus,
    /// Output, an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_data: Option<Box<RawValue>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_for_incompletion: Option<String>,
    /// Delay in seconds before a released task is offered again.
    pub callback_after_seconds: i64,
    /// Lines for the task's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<TaskLog>,
}

impl TaskResult {
    /// A result of `task` with the given outcome and nothing else.
    pub fn new(task: &Task, worker_id: &str, status: ResultStatus) -> Self {
        Self {
            workflow_instance_id: task.workflow_instance_id.clone(),
            task_id: task.task_id.clone(),
            worker_id: worker_id.to_owned(),
            status,
            output_data: None,
            reason_for_incompletion: None,
            callback_after_seconds: 0,
            logs: Vec::new(),
        }
    }

    /// Gives a claimed task back at once; the next poll gets the same task with a higher poll count.
    pub fn release(task: &Task, worker_id: &str) -> Self {
        Self {
            output_data: Some(task.output_data.clone()),
            ..Self::new(task, worker_id, ResultStatus::InProgress)
        }
    }
}

/// A workflow run as read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowRun {
    /// Id.
    #[serde(deserialize_with = "or_default")]
    pub workflow_id: String,
    /// Name of the definition.
    #[serde(deserialize_with = "or_default")]
    pub workflow_name: String,
    /// State.
    #[serde(deserialize_with = "or_default")]
    pub status: WorkflowStatus,
    /// Attempts of its tasks in order.
    #[serde(deserialize_with = "or_default")]
    pub tasks: Vec<Task>,
    /// Output.
    #[serde(deserialize_with = "or_default")]
    pub output: Value,
    /// Why it failed.
    pub reason_for_incompletion: Option<String>,
    /// When it was started.
    #[serde(deserialize_with = "or_default")]
    pub start_time: i64,
    /// When it ended.
    #[serde(deserialize_with = "or_default")]
    pub end_time: i64,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn raw_or_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<RawValue>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(if raw.get() == "null" { empty_object() } else { raw })
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ResultStatus, Task, TaskResult, TaskStatus};

    #[test]
    fn a_task_keeps_its_input_as_received() {
        let text = r#"{"taskId":"t","status":"IN_PROGRESS","inputData":{ "x": 1.0, "big":123456789012345678901 },
            "executionMetadata":{"empty":true},"retryCount":null,"workerId":null}"#;
        let task: Task = serde_json::from_str(text).unwrap();
        assert_eq!(task.input_data.get(), r#"{ "x": 1.0, "big":123456789012345678901 }"#);
        assert_eq!((task.status, task.retry_count, task.worker_id), (TaskStatus::InProgress, 0, None));
        assert_eq!(task.output_data.get(), "{}");
    }

    #[test]
    fn unknown_states_and_nulls_are_no_error() {
        let task: Task =
            serde_json::from_str(r#"{"status":"DREAMING","inputData":null,"outputData":null}"#).unwrap();
        assert_eq!(task.status, TaskStatus::Unknown);
        assert!(!task.status.is_terminal());
        assert_eq!((task.input_data.get(), task.output_data.get()), ("{}", "{}"));
        let task: Task = serde_json::from_str(r#"{"status":null}"#).unwrap();
        assert_eq!(task.status, TaskStatus::Unknown);
    }

    #[test]
    fn a_release_has_the_wire_form_of_the_protocol() {
        let task = Task { task_id: "t".into(), workflow_instance_id: "w".into(), ..Task::default() };
        assert_eq!(
            serde_json::to_value(TaskResult::release(&task, "me")).unwrap(),
            json!({"workflowInstanceId": "w", "taskId": "t", "workerId": "me", "status": "IN_PROGRESS",
                   "outputData": {}, "callbackAfterSeconds": 0})
        );
        assert_eq!(
            serde_json::to_value(ResultStatus::FailedWithTerminalError).unwrap(),
            "FAILED_WITH_TERMINAL_ERROR"
        );
    }
}
