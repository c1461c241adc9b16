//! Timeouts of attempts and runs: when the next one is due, and what it does.

use uuid::Uuid;

use super::Engine;
use super::evaluation::Ending;
use super::model::{Step, Task, TaskStatus, WorkflowStatus};
use super::task_definition::TimeoutPolicy;
use super::workflow_definition::WorkflowTimeoutPolicy;

/// One way in which an attempt runs out of time.
struct Limit {
    due: i64,
    policy: TimeoutPolicy,
    reason: String,
}

impl Engine {
    /// Returns when a run must be looked at again, without its queue doing so.
    pub(super) fn deadline_of(&self, id: Uuid) -> Option<i64> {
        let workflow = self.workflows.get(&id)?;
        if workflow.status != WorkflowStatus::Running {
            return None;
        }
        let whole = self.run_deadline(id);
        let attempt = workflow.tasks.last().map(|task| &self.tasks[task]).and_then(|task| {
            let step = &workflow.plan.steps[task.step];
            limits(task, step, 0).into_iter().map(|limit| limit.due).min()
        });
        [whole, attempt].into_iter().flatten().min()
    }

    fn run_deadline(&self, id: Uuid) -> Option<i64> {
        let workflow = self.workflows.get(&id)?;
        let definition = &workflow.plan.definition;
        let enforced =
            definition.timeout_seconds > 0 && definition.timeout_policy == WorkflowTimeoutPolicy::TimeOutWf;
        let since = workflow.create_time.max(workflow.last_retried_time);
        enforced.then(|| since + definition.timeout_seconds * 1000)
    }

    /// Returns how a run ends that has exceeded its own timeout.
    pub(super) fn expired_run(&self, id: Uuid, now: i64) -> Option<Ending> {
        let due = self.run_deadline(id).filter(|due| *due <= now)?;
        let seconds = self.workflows[&id].plan.definition.timeout_seconds;
        let elapsed = seconds + (now - due) / 1000;
        let reason = format!(
            "Workflow timed out after {elapsed} seconds. Timeout configured as {seconds} seconds. \
             Timeout policy configured to TIME_OUT_WF"
        );
        Some(Ending { status: WorkflowStatus::TimedOut, reason: Some(reason), failed_task: None })
    }

    /// Times a live attempt out if a limit has passed; returns whether it did.
    pub(super) fn expire_task(&mut self, id: Uuid, task: Uuid, now: i64) -> bool {
        let plan = self.workflows[&id].plan.clone();
        let live = &self.tasks[&task];
        let step = &plan.steps[live.step];
        let Some(limit) = limits(live, step, now).into_iter().find(|limit| limit.due <= now) else {
            return false;
        };
        self.withdraw(task);
        if let Some(task) = self.tasks.get_mut(&task) {
            task.status = TaskStatus::TimedOut;
            task.reason = Some(limit.reason.clone());
            task.end_time = now;
        }
        if limit.policy == TimeoutPolicy::TimeOutWf {
            let (status, reason) = (WorkflowStatus::TimedOut, Some(limit.reason));
            self.finish(id, Ending { status, reason, failed_task: Some(task) }, now);
        }
        true
    }
}

/// Returns the limits that apply to a live attempt. Those with `ALERT_ONLY` only write a log on the server.
fn limits(task: &Task, step: &Step, now: i64) -> Vec<Limit> {
    let definition = &step.definition;
    let policy = definition.timeout_policy;
    let mut found = Vec::new();
    if task.status.is_terminal() {
        return found;
    }
    let mut add = |since: i64, seconds: i64, what: &str| {
        if seconds > 0 && policy != TimeoutPolicy::AlertOnly {
            let reason = format!(
                "Task{what} timed out after {} seconds. {}imeout configured as {seconds} seconds. \
                 Timeout policy configured to {}",
                (now - since) / 1000,
                if what.is_empty() { "T" } else { "Poll t" },
                policy.name(),
            );
            found.push(Limit { due: since + seconds * 1000, policy, reason });
        }
    };
    if task.start_time > 0 {
        add(task.start_time, definition.timeout_seconds, "");
    }
    if task.status == TaskStatus::Scheduled {
        let delays = task.start_delay_seconds.max(task.callback_after_seconds);
        add(task.scheduled_time + delays * 1000, definition.poll_timeout_seconds.unwrap_or(0), " poll");
    }
    if definition.total_timeout_seconds > 0 && policy != TimeoutPolicy::AlertOnly {
        let seconds = definition.total_timeout_seconds;
        let reason = format!("Task exceeded total timeout of {seconds} seconds over all attempts");
        found.push(Limit { due: task.first_scheduled_time + seconds * 1000, policy, reason });
    }
    if task.status == TaskStatus::InProgress {
        let seconds = definition.response_timeout_seconds;
        let reason = format!(
            "responseTimeout: {seconds} exceeded for the taskId: {} with Task Definition: {}",
            task.id, step.name
        );
        let due = task.update_time + (seconds + task.callback_after_seconds) * 1000;
        found.push(Limit { due, policy: TimeoutPolicy::Retry, reason });
    }
    found
}
