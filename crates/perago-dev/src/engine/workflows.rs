//! Runs: started, read, paused, resumed, retried, terminated, removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::error::{EngineError, Violation};
use super::evaluation::Ending;
use super::metadata::BulkResult;
use super::model::{Plan, TaskStatus, Workflow, WorkflowStatus};
use super::raw::is_object;
use super::workflow_definition::WorkflowDefinition;
use super::{Engine, MAXIMUM_PAYLOAD_BYTES, Raw};

/// Request to start a run (`POST /workflow`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartRequest {
    /// Name of the workflow.
    pub name: Option<String>,
    /// Version; the latest where absent.
    pub version: Option<i64>,
    /// Input, a JSON object.
    pub input: Option<Raw>,
    /// Caller's own identifier.
    pub correlation_id: Option<String>,
    /// 0 to 99.
    pub priority: Option<i64>,
    /// Domain for each task type, or for `*`.
    pub task_to_domain: Option<BTreeMap<String, String>>,
    /// A definition to run as it is, without storing it.
    pub workflow_def: Option<WorkflowDefinition>,
    /// Input kept elsewhere, which this engine cannot fetch.
    pub external_input_payload_storage_path: Option<String>,
}

impl Engine {
    /// Starts a run and returns its identifier.
    pub fn start(&mut self, request: StartRequest, now: i64) -> Result<Uuid, EngineError> {
        check_start(&request)?;
        let name = request.name.as_deref().unwrap_or_default();
        let plan = match request.workflow_def {
            Some(mut definition) => {
                if definition.name.is_empty() {
                    name.clone_into(&mut definition.name);
                }
                definition.check("startWorkflow")?;
                Arc::new(self.plan_of(definition))
            }
            None => self.stored_plan(name, request.version).ok_or_else(|| {
                let version =
                    request.version.map_or_else(|| "null".to_owned(), |version| version.to_string());
                EngineError::not_found(format!("No such workflow defined. name={name}, version={version}"))
            })?,
        };
        let id = self.random.identifier();
        let workflow = Workflow {
            id,
            input: input_with_defaults(&plan, request.input),
            plan,
            status: WorkflowStatus::Running,
            output: Raw::empty_object(),
            correlation_id: request.correlation_id,
            priority: request.priority.unwrap_or(0) as u8,
            task_to_domain: request.task_to_domain.unwrap_or_default(),
            tasks: Vec::new(),
            create_time: now,
            update_time: now,
            end_time: 0,
            last_retried_time: 0,
            reason: None,
            failed_reference_names: Vec::new(),
            failed_task_names: Vec::new(),
            timer: None,
        };
        self.running.insert((now, id));
        self.workflows.insert(id, workflow);
        self.evaluate(id, now);
        Ok(id)
    }

    /// Finds a run by the text of its identifier.
    pub fn workflow_id(&self, text: &str) -> Result<Uuid, EngineError> {
        let id = Uuid::try_parse(text).ok().filter(|id| self.workflows.contains_key(id));
        id.ok_or_else(|| EngineError::no_workflow(text))
    }

    /// Finds a task attempt by the text of its identifier.
    pub fn task_id(&self, text: &str) -> Option<Uuid> {
        Uuid::try_parse(text).ok().filter(|id| self.tasks.contains_key(id))
    }

    /// Returns the state of a run.
    pub fn workflow_status(&self, text: &str) -> Result<WorkflowStatus, EngineError> {
        Ok(self.workflows[&self.workflow_id(text)?].status)
    }

    /// Returns the identifiers of the live runs of a workflow, oldest first.
    pub fn running(&self, name: &str, version: Option<i64>) -> Vec<String> {
        let live = self.running.iter().map(|(_, id)| &self.workflows[id]);
        live.filter(|workflow| {
            let definition = &workflow.plan.definition;
            definition.name == name && version.is_none_or(|version| version == definition.version)
        })
        .map(|workflow| workflow.id.to_string())
        .collect()
    }

    /// Evaluates a run now: timeouts that are due fire.
    pub fn decide(&mut self, text: &str, now: i64) -> Result<(), EngineError> {
        let id = self.workflow_id(text)?;
        self.evaluate(id, now);
        Ok(())
    }

    /// Pauses a run: nothing new is scheduled and nothing times out.
    pub fn pause(&mut self, text: &str, now: i64) -> Result<(), EngineError> {
        let id = self.workflow_id(text)?;
        let workflow = &self.workflows[&id];
        if workflow.status.is_terminal() {
            let definition = &workflow.plan.definition;
            let message = format!(
                "Workflow {}.{}/{id} has ended, status cannot be updated.",
                definition.name, definition.version
            );
            return Err(EngineError::conflict(message));
        }
        self.set_status(id, WorkflowStatus::Paused, now);
        self.arm(id);
        Ok(())
    }

    /// Resumes a paused run.
    pub fn resume(&mut self, text: &str, now: i64) -> Result<(), EngineError> {
        let id = self.workflow_id(text)?;
        let status = self.workflows[&id].status;
        if status != WorkflowStatus::Paused {
            let message = format!(
                "The workflow {text} is not PAUSED so cannot resume. Current status is {}",
                status.name()
            );
            return Err(EngineError::internal(message));
        }
        self.set_status(id, WorkflowStatus::Running, now);
        self.evaluate(id, now);
        Ok(())
    }

    fn set_status(&mut self, id: Uuid, status: WorkflowStatus, now: i64) {
        if let Some(workflow) = self.workflows.get_mut(&id) {
            workflow.status = status;
            workflow.update_time = now;
        }
    }

    /// Ends a run; one that is over already, but not completed, stays as it is or becomes `TERMINATED`.
    pub fn terminate(&mut self, text: &str, reason: Option<String>, now: i64) -> Result<(), EngineError> {
        let id = self.workflow_id(text)?;
        match self.workflows[&id].status {
            WorkflowStatus::Completed => Err(EngineError::conflict("Cannot terminate a COMPLETED workflow.")),
            status if status.is_terminal() => {
                if let Some(workflow) = self.workflows.get_mut(&id) {
                    workflow.status = WorkflowStatus::Terminated;
                    workflow.reason = reason;
                    workflow.update_time = now;
                }
                Ok(())
            }
            _ => {
                let ending = Ending { status: WorkflowStatus::Terminated, reason, failed_task: None };
                self.finish(id, ending, now);
                Ok(())
            }
        }
    }

    /// Ends several runs.
    pub fn terminate_all(&mut self, ids: &[String], reason: Option<&str>, now: i64) -> BulkResult {
        let mut result = BulkResult::default();
        for id in ids {
            match self.terminate(id, reason.map(str::to_owned), now) {
                Ok(()) => result.bulk_successful_results.push(id.clone()),
                Err(error) => {
                    result.bulk_error_results.insert(id.clone(), error.message);
                }
            }
        }
        result
    }

    /// Goes on with a run that failed: its last attempt gets a successor at once.
    pub fn retry_workflow(&mut self, text: &str, now: i64) -> Result<(), EngineError> {
        let id = self.workflow_id(text)?;
        let workflow = &self.workflows[&id];
        if !workflow.status.is_terminal() {
            let message = format!("Workflow is still running.  status={}", workflow.status.name());
            return Err(EngineError::not_found(message));
        }
        let last = workflow.tasks.last().copied();
        let retryable = last.filter(|task| {
            let status = self.tasks[task].status;
            status.is_terminal() && !status.is_success()
        });
        let Some(task) = retryable.filter(|_| workflow.status != WorkflowStatus::Completed) else {
            let message = "There are no retryable tasks! Use restart if you want to attempt entire workflow \
                           execution again.";
            return Err(EngineError::conflict(message));
        };
        let created = workflow.create_time;
        if let Some(workflow) = self.workflows.get_mut(&id) {
            workflow.status = WorkflowStatus::Running;
            workflow.last_retried_time = now;
            workflow.reason = None;
            workflow.failed_reference_names.clear();
            workflow.failed_task_names.clear();
        }
        self.running.insert((created, id));
        let reason = self.tasks.get_mut(&task).and_then(|task| task.reason.take());
        self.retry(task, 0, 0, now);
        if let Some(task) = self.tasks.get_mut(&task) {
            task.reason = reason;
        }
        self.evaluate(id, now);
        Ok(())
    }

    /// Deletes a run with its tasks.
    pub fn remove(&mut self, text: &str) -> Result<(), EngineError> {
        let id = self.workflow_id(text)?;
        self.forget(id);
        Ok(())
    }

    /// Puts scheduled tasks that are in no queue back into theirs; returns how many wait.
    pub fn requeue(&mut self, task_type: &str, now: i64) -> usize {
        let lost: Vec<Uuid> = self
            .running
            .iter()
            .filter_map(|(_, id)| self.workflows[id].tasks.last().copied())
            .filter(|task| {
                let task = &self.tasks[task];
                task.status == TaskStatus::Scheduled
                    && task.placement == super::Placement::Nowhere
                    && !task.holds_slot
                    && *self.step_name(task) == *task_type
            })
            .collect();
        let count = lost.len();
        for task in lost {
            self.enqueue(task, now, now);
        }
        count
    }
}

fn check_start(request: &StartRequest) -> Result<(), EngineError> {
    let mut violations = Vec::new();
    if request.name.as_deref().is_none_or(str::is_empty) {
        let message = "Workflow name cannot be null or empty";
        violations.push(Violation::of_object("startWorkflow.arg0.name", message));
    }
    let priority = request.priority.unwrap_or(0);
    if !(0..=99).contains(&priority) {
        let bound = if priority < 0 { "minimum 0" } else { "maximum 99" };
        let message = format!("priority: {priority} should be {bound}");
        violations.push(Violation::of_field("startWorkflow.arg0.priority", message, priority));
    }
    EngineError::of_violations(violations)?;
    if request.external_input_payload_storage_path.is_some() {
        return Err(EngineError::unsupported("externalInputPayloadStoragePath"));
    }
    if let Some(input) = &request.input {
        if !is_object(input.get()) {
            return Err(EngineError::internal("JSON parse error: the input must be an object"));
        }
        if input.byte_length() > MAXIMUM_PAYLOAD_BYTES {
            let message = format!(
                "The input payload size: {} is greater than the permissible limit: {MAXIMUM_PAYLOAD_BYTES} bytes",
                input.byte_length()
            );
            return Err(EngineError::invalid(message));
        }
    }
    Ok(())
}

fn input_with_defaults(plan: &Plan, input: Option<Raw>) -> Raw {
    let input = input.unwrap_or_else(Raw::empty_object);
    let template = &plan.definition.input_template;
    if template.is_empty() {
        return input;
    }
    let mut members: BTreeMap<String, Raw> =
        template.iter().map(|(key, value)| (key.clone(), Raw::of(value))).collect();
    members.extend(serde_json::from_str::<BTreeMap<String, Raw>>(input.get()).unwrap_or_default());
    Raw::of(&members)
}
