//! Evaluation of a run: schedules the next step, retries failed attempts, ends the run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use uuid::Uuid;

use super::expression::{self, Source};
use super::model::{Task, TaskStatus, Workflow, WorkflowStatus};
use super::queue::{Placement, Timer};
use super::raw::member;
use super::{EXTERNAL_PAYLOAD_BYTES, Engine, MAXIMUM_PAYLOAD_BYTES, Raw};

/// How a run ends.
pub(super) struct Ending {
    pub(super) status: WorkflowStatus,
    pub(super) reason: Option<String>,
    pub(super) failed_task: Option<Uuid>,
}

impl Engine {
    /// Brings a run as far as it can go now, and sets the timer for its next deadline.
    pub(super) fn evaluate(&mut self, id: Uuid, now: i64) {
        while self.workflows.get(&id).is_some_and(|workflow| workflow.status == WorkflowStatus::Running) {
            if let Some(ending) = self.expired_run(id, now) {
                self.finish(id, ending, now);
                break;
            }
            let workflow = &self.workflows[&id];
            let Some(task) = workflow.tasks.last().map(|task| &self.tasks[task]) else {
                self.schedule_step(id, 0, now);
                continue;
            };
            let (task, status, step) = (task.id, task.status, task.step);
            if status.is_success() {
                if step + 1 < self.workflows[&id].plan.steps.len() {
                    self.mark_executed(task);
                    self.schedule_step(id, step + 1, now);
                } else {
                    let ending =
                        Ending { status: WorkflowStatus::Completed, reason: None, failed_task: None };
                    self.finish(id, ending, now);
                }
            } else if status.is_terminal() {
                self.retry_or_fail(id, task, now);
            } else if !self.expire_task(id, task, now) {
                break;
            }
        }
        self.arm(id);
    }

    fn mark_executed(&mut self, task: Uuid) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.executed = true;
        }
    }

    /// Sets the timer of a run to its next deadline, or clears it.
    pub(super) fn arm(&mut self, id: Uuid) {
        let due = self.deadline_of(id);
        let Some(workflow) = self.workflows.get_mut(&id) else { return };
        if workflow.timer == due {
            return;
        }
        if let Some(earlier) = std::mem::replace(&mut workflow.timer, due) {
            self.queues.clear_timer(earlier, Timer::Evaluate(id));
        }
        if let Some(due) = due {
            self.queues.set_timer(due, Timer::Evaluate(id));
        }
    }

    fn schedule_step(&mut self, id: Uuid, step: usize, now: i64) {
        let workflow = &self.workflows[&id];
        let plan = workflow.plan.clone();
        let planned = &plan.steps[step];
        let input = self.rendered(workflow, &planned.template);
        let domain = domain_for(&workflow.task_to_domain, &planned.name);
        let delay = planned.start_delay_seconds;
        let task = Task {
            id: self.random.identifier(),
            workflow: id,
            step,
            status: TaskStatus::Scheduled,
            external_input: input.byte_length() > EXTERNAL_PAYLOAD_BYTES,
            input,
            output: Raw::empty_object(),
            retry_count: 0,
            sequence: 0,
            poll_count: 0,
            scheduled_time: now,
            first_scheduled_time: now,
            start_time: 0,
            end_time: 0,
            update_time: 0,
            start_delay_seconds: delay,
            replaces: None,
            retried: false,
            executed: false,
            reason: None,
            callback_after_seconds: delay,
            worker_id: None,
            domain: domain.map(Into::into),
            logs: Vec::new(),
            log_bytes: 0,
            external_output: false,
            placement: Placement::Nowhere,
            holds_slot: false,
        };
        self.schedule(task, now + delay * 1000, now);
    }

    fn schedule(&mut self, mut task: Task, due: i64, now: i64) {
        let id = task.id;
        let oversized = task.input.byte_length() > MAXIMUM_PAYLOAD_BYTES;
        let Some(workflow) = self.workflows.get_mut(&task.workflow) else { return };
        workflow.tasks.push(id);
        workflow.update_time = now;
        task.sequence = workflow.tasks.len() as i64;
        if oversized {
            task.status = TaskStatus::FailedWithTerminalError;
            task.reason = Some(payload_reason(task.input.byte_length()));
            task.end_time = now;
        }
        self.tasks.insert(id, task);
        if !oversized {
            self.enqueue(id, due, now);
        }
    }

    /// Retries a failed attempt if its step has retries left; ends the run otherwise.
    fn retry_or_fail(&mut self, id: Uuid, failed: Uuid, now: i64) {
        let plan = self.workflows[&id].plan.clone();
        let task = &self.tasks[&failed];
        let step = &plan.steps[task.step];
        let retriable = matches!(task.status, TaskStatus::Failed | TaskStatus::TimedOut);
        if retriable && task.retry_count < step.retry_count {
            let total = step.definition.total_timeout_seconds;
            if total > 0 && now - task.first_scheduled_time >= total * 1000 {
                let reason = format!(
                    "Task {failed} exceeded total timeout of {total} seconds. Reason of the last failure: '{}'. \
                     No further retries",
                    task.reason.as_deref().unwrap_or_default()
                );
                let status = if task.status == TaskStatus::TimedOut {
                    WorkflowStatus::TimedOut
                } else {
                    WorkflowStatus::Failed
                };
                self.finish(id, Ending { status, reason: Some(reason), failed_task: Some(failed) }, now);
                return;
            }
            let delay = step.definition.retry_delay_seconds(task.retry_count + 1);
            let jitter = self.random.up_to(step.definition.backoff_jitter_ms);
            self.retry(failed, delay, jitter, now);
            return;
        }
        if step.optional && task.status != TaskStatus::Canceled {
            if let Some(task) = self.tasks.get_mut(&failed) {
                task.status = TaskStatus::CompletedWithErrors;
            }
            return;
        }
        let status = match task.status {
            TaskStatus::Canceled => WorkflowStatus::Terminated,
            TaskStatus::TimedOut => WorkflowStatus::TimedOut,
            _ => WorkflowStatus::Failed,
        };
        let reason = format!(
            "Task {failed} failed with status: {} and reason: '{}'",
            status.name(),
            task.reason.as_deref().unwrap_or("null")
        );
        let failed_task = (task.status != TaskStatus::Canceled).then_some(failed);
        self.finish(id, Ending { status, reason: Some(reason), failed_task }, now);
    }

    /// Schedules a new attempt in place of `failed`.
    pub(super) fn retry(&mut self, failed: Uuid, delay_seconds: i64, jitter_milliseconds: i64, now: i64) {
        let id = self.random.identifier();
        let Some(earlier) = self.tasks.get_mut(&failed) else { return };
        earlier.retried = true;
        earlier.executed = true;
        let task = Task {
            id,
            workflow: earlier.workflow,
            step: earlier.step,
            status: TaskStatus::Scheduled,
            input: earlier.input.clone(),
            output: Raw::empty_object(),
            retry_count: earlier.retry_count + 1,
            sequence: 0,
            poll_count: 0,
            scheduled_time: now,
            first_scheduled_time: earlier.first_scheduled_time,
            start_time: 0,
            end_time: 0,
            update_time: now,
            start_delay_seconds: delay_seconds,
            replaces: Some(failed),
            retried: false,
            executed: false,
            reason: earlier.reason.clone(),
            callback_after_seconds: delay_seconds,
            worker_id: None,
            domain: earlier.domain.clone(),
            logs: Vec::new(),
            log_bytes: 0,
            external_input: earlier.external_input,
            external_output: false,
            placement: Placement::Nowhere,
            holds_slot: false,
        };
        self.schedule(task, now + delay_seconds * 1000 + jitter_milliseconds, now);
    }

    /// Ends a run: its output is made, its live attempts are cancelled, old runs are forgotten.
    pub(super) fn finish(&mut self, id: Uuid, ending: Ending, now: i64) {
        let workflow = &self.workflows[&id];
        let plan = workflow.plan.clone();
        let output = if plan.definition.output_parameters.is_empty() {
            workflow.tasks.last().map_or_else(Raw::empty_object, |task| self.tasks[task].output.clone())
        } else {
            self.rendered(workflow, &plan.output_template)
        };
        let attempts = workflow.tasks.clone();
        let mut weight = 512 + workflow.input.byte_length() + output.byte_length();
        for task in attempts {
            if !self.tasks[&task].status.is_terminal() {
                self.withdraw(task);
                if let Some(task) = self.tasks.get_mut(&task) {
                    task.status = TaskStatus::Canceled;
                    task.end_time = now;
                }
            }
            weight += self.tasks[&task].weight();
        }
        let failed = ending.failed_task.map(|task| &plan.steps[self.tasks[&task].step]);
        let Some(workflow) = self.workflows.get_mut(&id) else { return };
        workflow.status = ending.status;
        workflow.reason = ending.reason;
        workflow.output = output;
        workflow.end_time = now;
        workflow.update_time = now;
        if let Some(step) = failed {
            if !workflow.failed_reference_names.contains(&step.reference) {
                workflow.failed_reference_names.push(step.reference.clone());
            }
            if !workflow.failed_task_names.iter().any(|name| **name == *step.name) {
                workflow.failed_task_names.push(step.name.to_string());
            }
        }
        self.running.remove(&(workflow.create_time, id));
        self.finished.push_back((id, weight));
        self.finished_bytes += weight;
        self.arm(id);
        self.evict();
    }

    /// Renders a template of `workflow` to a JSON object.
    pub(super) fn rendered(&self, workflow: &Workflow, template: &serde_json::Value) -> Raw {
        if template.as_object().is_some_and(serde_json::Map::is_empty) {
            return Raw::empty_object();
        }
        let mut text = String::new();
        expression::render(template, &Values { engine: self, workflow }, &mut text);
        Raw::from_json(text).unwrap_or_else(|_| Raw::empty_object())
    }
}

/// The reason that the server gives for a payload beyond the permissible limit.
pub(super) fn payload_reason(bytes: usize) -> String {
    format!("The payload size: {bytes} is greater than the permissible limit: {MAXIMUM_PAYLOAD_BYTES} bytes")
}

fn domain_for<'a>(domains: &'a BTreeMap<String, String>, task_type: &str) -> Option<&'a str> {
    let named = domains.get(task_type).or_else(|| domains.get("*"))?;
    // A list names fallbacks by liveness of their pollers; its first entry is the preferred one.
    let first = named.split(',').next().unwrap_or_default().trim();
    (!first.is_empty() && first != "NO_DOMAIN").then_some(first)
}

/// What expressions of one run can read.
struct Values<'a> {
    engine: &'a Engine,
    workflow: &'a Workflow,
}

impl Values<'_> {
    fn task(&self, reference: &str) -> Option<&Task> {
        let attempts = self.workflow.tasks.iter().rev().map(|task| &self.engine.tasks[task]);
        attempts.into_iter().find(|task| self.workflow.plan.steps[task.step].reference == reference)
    }
}

impl Source for Values<'_> {
    fn field(&self, source: &str, field: &str) -> Option<Cow<'_, str>> {
        if source == "workflow" {
            return match field {
                "input" => Some(self.workflow.input.get().into()),
                "output" => Some(self.workflow.output.get().into()),
                "correlationId" => self.workflow.correlation_id.as_ref().map(|text| json_text(text).into()),
                "workflowId" => Some(json_text(&self.workflow.id.to_string()).into()),
                "status" => Some(json_text(self.workflow.status.name()).into()),
                "version" => Some(self.workflow.plan.definition.version.to_string().into()),
                "workflowType" => Some(json_text(&self.workflow.plan.definition.name).into()),
                _ => None,
            };
        }
        let task = self.task(source)?;
        match field {
            "input" => Some(task.input.get().into()),
            "output" => Some(task.output.get().into()),
            _ => {
                let view = serde_json::to_string(&self.engine.task_view(task)).ok()?;
                member(&view, field).map(|text| text.to_owned().into())
            }
        }
    }

    fn whole(&self, source: &str) -> Option<Cow<'_, str>> {
        let task = self.task(source)?;
        serde_json::to_string(&self.engine.task_view(task)).ok().map(Cow::Owned)
    }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
