//! Results, requeues, lease extensions and logs from workers.

use serde::Deserialize;
use uuid::Uuid;

use super::error::{EngineError, Violation};
use super::evaluation::payload_reason;
use super::model::{LogLine, Task, TaskStatus};
use super::queue::Timer;
use super::raw::is_object;
use super::{EXTERNAL_PAYLOAD_BYTES, Engine, MAXIMUM_PAYLOAD_BYTES, Raw};

/// Log lines of one attempt beyond this many bytes are dropped, so that a chatty body cannot fill the memory.
const MAXIMUM_LOG_BYTES: usize = 1024 * 1024;
/// How long after an update through another run the own run is looked at: the server's sweeper does so.
const SWEEP_MILLISECONDS: i64 = 30_000;

/// Status that a worker may report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpdateStatus {
    /// Gives the claim back; handed out again after `callbackAfterSeconds`.
    InProgress,
    /// Done.
    Completed,
    /// Failed, to be retried.
    Failed,
    /// Failed for good.
    FailedWithTerminalError,
    /// Given up: ends the run as terminated.
    Canceled,
}

/// A `TaskResult` from the wire; a field that is absent resets the task's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskUpdate {
    /// The run.
    pub workflow_instance_id: Option<String>,
    /// The attempt.
    pub task_id: Option<String>,
    /// New status; must be there unless the update is ignored.
    pub status: Option<UpdateStatus>,
    /// Output, a JSON object.
    pub output_data: Option<Raw>,
    /// Who reports.
    pub worker_id: Option<String>,
    /// Why it failed.
    pub reason_for_incompletion: Option<String>,
    /// Seconds until a requeued task is handed out again.
    pub callback_after_seconds: i64,
    /// Only renews the lease; everything else is ignored.
    pub extend_lease: bool,
    /// Lines for the task's log.
    pub logs: Option<Vec<UpdateLog>>,
}

/// A log line from the wire.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateLog {
    /// Text.
    pub log: Option<String>,
    /// Epoch milliseconds.
    pub created_time: i64,
}

/// What an accepted update did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updated {
    /// Task type and domain to poll next, where the task is over (`update-v2`).
    pub poll_next: Option<(String, Option<String>)>,
}

impl Engine {
    /// Applies a result (`POST /tasks`). Updates of what is over are accepted and ignored, as the server does.
    pub fn update(&mut self, update: TaskUpdate, now: i64) -> Result<Updated, EngineError> {
        let (workflow_id, task_id) = ids_of(&update)?;
        if update.extend_lease {
            return self.extend_lease(task_id, now);
        }
        let run = self.workflow_id(workflow_id)?;
        let task = self.find_task(task_id)?;
        if update.output_data.as_ref().is_some_and(|output| !is_object(output.get())) {
            return Err(EngineError::internal("JSON parse error: outputData must be an object"));
        }
        let over = self.workflows[&run].status.is_terminal() || self.tasks[&task].status.is_terminal();
        if !over {
            self.apply(task, update, now)?;
            let own_run = self.tasks[&task].workflow;
            if own_run == run {
                self.evaluate(run, now);
            } else {
                self.evaluate(run, now);
                self.sweep_later(own_run, now);
            }
        }
        let Some(task) = self.tasks.get(&task) else { return Ok(Updated { poll_next: None }) };
        let next = (self.step_name(task).to_string(), task.domain.as_deref().map(str::to_owned));
        Ok(Updated { poll_next: (over || task.status.is_terminal()).then_some(next) })
    }

    fn sweep_later(&mut self, run: Uuid, now: i64) {
        let Some(workflow) = self.workflows.get_mut(&run) else { return };
        let due = now + SWEEP_MILLISECONDS;
        if let Some(earlier) = workflow.timer.replace(due) {
            self.queues.clear_timer(earlier, Timer::Evaluate(run));
        }
        self.queues.set_timer(due, Timer::Evaluate(run));
    }

    fn apply(&mut self, id: Uuid, update: TaskUpdate, now: i64) -> Result<(), EngineError> {
        let status = match update.status {
            None => return Err(EngineError::internal("The status of a task result must not be null")),
            Some(UpdateStatus::InProgress) => TaskStatus::Scheduled,
            Some(UpdateStatus::Completed) => TaskStatus::Completed,
            Some(UpdateStatus::Failed) => TaskStatus::Failed,
            Some(UpdateStatus::FailedWithTerminalError) => TaskStatus::FailedWithTerminalError,
            Some(UpdateStatus::Canceled) => TaskStatus::Canceled,
        };
        self.withdraw(id);
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        let output = update.output_data.unwrap_or_else(Raw::empty_object);
        task.status = status;
        task.reason = update.reason_for_incompletion;
        task.worker_id = update.worker_id;
        task.callback_after_seconds = update.callback_after_seconds.max(0);
        task.external_output = output.byte_length() > EXTERNAL_PAYLOAD_BYTES;
        task.update_time = now;
        if output.byte_length() > MAXIMUM_PAYLOAD_BYTES {
            task.status = TaskStatus::FailedWithTerminalError;
            task.reason = Some(payload_reason(output.byte_length()));
            task.output = Raw::empty_object();
            task.external_output = false;
        } else {
            task.output = output;
        }
        for line in update.logs.into_iter().flatten() {
            append_log(task, line.log.unwrap_or_default(), line.created_time);
        }
        if task.status.is_terminal() {
            task.end_time = now;
        } else {
            let due = now + task.callback_after_seconds * 1000;
            self.enqueue(id, due, now);
        }
        Ok(())
    }

    fn extend_lease(&mut self, task_id: &str, now: i64) -> Result<Updated, EngineError> {
        let id = self.find_task(task_id)?;
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| !task.status.is_terminal()) {
            task.update_time = now;
            let workflow = task.workflow;
            self.arm(workflow);
        }
        Ok(Updated { poll_next: None })
    }

    fn find_task(&self, text: &str) -> Result<Uuid, EngineError> {
        self.task_id(text).ok_or_else(|| EngineError::not_found(format!("No such task found by id: {text}")))
    }

    /// Updates the live attempt of a step by its reference name; returns its id, or nothing if none is live.
    pub fn update_by_reference(
        &mut self,
        workflow_id: &str,
        reference: &str,
        update: TaskUpdate,
        now: i64,
    ) -> Result<Option<Uuid>, EngineError> {
        let run = self.workflow_id(workflow_id)?;
        let workflow = &self.workflows[&run];
        let live = workflow.tasks.iter().rev().copied().find(|task| {
            let task = &self.tasks[task];
            !task.status.is_terminal() && workflow.plan.steps[task.step].reference == reference
        });
        let Some(task) = live else { return Ok(None) };
        let update = TaskUpdate {
            workflow_instance_id: Some(workflow_id.to_owned()),
            task_id: Some(task.to_string()),
            ..update
        };
        self.update(update, now)?;
        Ok(Some(task))
    }

    /// Appends a line to a task's log; unknown tasks are accepted silently, as on the server.
    pub fn append_log(&mut self, task_id: &str, line: String, now: i64) {
        if let Some(task) = self.task_id(task_id).and_then(|id| self.tasks.get_mut(&id)) {
            append_log(task, line, now);
        }
    }

    /// Returns a task's log in the order of the lines' times.
    pub fn logs(&self, task_id: &str) -> Vec<&LogLine> {
        let task = self.task_id(task_id).map(|id| &self.tasks[&id]);
        let mut lines: Vec<&LogLine> = task.map(|task| task.logs.iter().collect()).unwrap_or_default();
        lines.sort_by_key(|line| line.created_time);
        lines
    }
}

fn append_log(task: &mut Task, log: String, created_time: i64) {
    if task.log_bytes + log.len() <= MAXIMUM_LOG_BYTES {
        // The fixed part keeps a flood of empty lines within the bound too.
        task.log_bytes += log.len() + 64;
        task.logs.push(LogLine { log, task_id: task.id.to_string(), created_time });
    }
}

fn ids_of(update: &TaskUpdate) -> Result<(&str, &str), EngineError> {
    let present = |id: &'_ Option<String>| id.as_deref().is_some_and(|id| !id.is_empty());
    let mut missing = Vec::new();
    if !present(&update.workflow_instance_id) {
        let path = "updateTask.arg0.workflowInstanceId";
        missing.push(Violation::of_object(path, "Workflow Id cannot be null or empty"));
    }
    if !present(&update.task_id) {
        missing.push(Violation::of_object("updateTask.arg0.taskId", "Task ID cannot be null or empty"));
    }
    EngineError::of_violations(missing)?;
    Ok((
        update.workflow_instance_id.as_deref().unwrap_or_default(),
        update.task_id.as_deref().unwrap_or_default(),
    ))
}
