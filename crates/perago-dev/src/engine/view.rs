//! Runs and attempts as the server shows them, serialised straight from the engine's records.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::error::EngineError;
use super::model::{Task, TaskStatus, Workflow, WorkflowStatus};
use super::{Engine, Raw};

/// A task attempt.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "fields of the wire format")]
pub struct TaskView<'a> {
    task_type: &'a str,
    status: TaskStatus,
    input_data: &'a Raw,
    reference_task_name: &'a str,
    retry_count: i64,
    seq: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    poll_count: i64,
    task_def_name: &'a str,
    scheduled_time: i64,
    start_time: i64,
    end_time: i64,
    update_time: i64,
    start_delay_in_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retried_task_id: Option<Uuid>,
    retried: bool,
    executed: bool,
    callback_from_worker: bool,
    response_timeout_seconds: i64,
    workflow_instance_id: Uuid,
    workflow_type: &'a str,
    task_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_for_incompletion: Option<&'a str>,
    callback_after_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<&'a str>,
    output_data: &'a Raw,
    workflow_task: &'a Raw,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    rate_limit_per_frequency: i64,
    rate_limit_frequency_in_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_input_payload_storage_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_output_payload_storage_path: Option<String>,
    workflow_priority: u8,
    iteration: i64,
    subworkflow_changed: bool,
    first_start_time: i64,
    execution_metadata: ExecutionMetadata,
    task_definition: &'a Raw,
    loop_over_task: bool,
    queue_wait_time: i64,
}

/// Always empty in this engine.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionMetadata {
    additional_context: BTreeMap<String, String>,
    empty: True,
    additional_context_map: BTreeMap<String, String>,
}

#[derive(Default)]
struct True;

impl Serialize for True {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

/// A run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowView<'a> {
    owner_app: &'static str,
    create_time: i64,
    update_time: i64,
    status: WorkflowStatus,
    end_time: i64,
    workflow_id: Uuid,
    tasks: Vec<TaskView<'a>>,
    input: &'a Raw,
    output: &'a Raw,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_for_incompletion: Option<&'a str>,
    task_to_domain: &'a BTreeMap<String, String>,
    failed_reference_task_names: &'a [String],
    workflow_definition: &'a Raw,
    priority: u8,
    variables: BTreeMap<String, String>,
    last_retried_time: i64,
    failed_task_names: &'a [String],
    history: [(); 0],
    rate_limited: bool,
    start_time: i64,
    workflow_name: &'a str,
    workflow_version: i64,
}

/// The short form of a run (`GET /workflow/{id}/status`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView<'a> {
    workflow_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<BTreeMap<String, String>>,
    status: WorkflowStatus,
}

impl Engine {
    /// Returns a task attempt by its identifier.
    pub fn task(&self, text: &str) -> Result<TaskView<'_>, EngineError> {
        let found = self.task_id(text).map(|id| self.task_view(&self.tasks[&id]));
        found.ok_or_else(|| EngineError::not_found(format!("Task not found for taskId: {text}")))
    }

    /// Returns claimed tasks; those forgotten since are left out.
    pub fn claimed(&self, ids: &[Uuid]) -> Vec<TaskView<'_>> {
        ids.iter().filter_map(|id| self.tasks.get(id)).map(|task| self.task_view(task)).collect()
    }

    /// Returns a run, with its tasks where asked.
    pub fn workflow(&self, text: &str, include_tasks: bool) -> Result<WorkflowView<'_>, EngineError> {
        let workflow = &self.workflows[&self.workflow_id(text)?];
        Ok(self.workflow_view(workflow, include_tasks))
    }

    /// Returns the short form of a run.
    pub fn status(
        &self,
        text: &str,
        include_output: bool,
        include_variables: bool,
    ) -> Result<StatusView<'_>, EngineError> {
        let workflow = &self.workflows[&self.workflow_id(text)?];
        Ok(StatusView {
            workflow_id: workflow.id,
            correlation_id: workflow.correlation_id.as_deref(),
            output: include_output.then_some(&workflow.output),
            variables: include_variables.then(BTreeMap::new),
            status: workflow.status,
        })
    }

    pub(super) fn task_view<'a>(&'a self, task: &'a Task) -> TaskView<'a> {
        let workflow = &self.workflows[&task.workflow];
        let step = &workflow.plan.steps[task.step];
        // The server's default storage names a path that no worker can read; so does this.
        let path = |kind: &str| format!("task/{kind}/{}.json", task.id);
        TaskView {
            task_type: &step.name,
            status: task.status,
            input_data: if task.external_input { empty() } else { &task.input },
            reference_task_name: &step.reference,
            retry_count: task.retry_count,
            seq: task.sequence,
            correlation_id: workflow.correlation_id.as_deref(),
            poll_count: task.poll_count,
            task_def_name: &step.name,
            scheduled_time: task.scheduled_time,
            start_time: task.start_time,
            end_time: task.end_time,
            update_time: task.update_time,
            start_delay_in_seconds: task.start_delay_seconds,
            retried_task_id: task.replaces,
            retried: task.retried,
            executed: task.executed,
            callback_from_worker: true,
            response_timeout_seconds: step.definition.response_timeout_seconds,
            workflow_instance_id: task.workflow,
            workflow_type: &workflow.plan.definition.name,
            task_id: task.id,
            reason_for_incompletion: task.reason.as_deref(),
            callback_after_seconds: task.callback_after_seconds,
            worker_id: task.worker_id.as_deref(),
            output_data: if task.external_output { empty() } else { &task.output },
            workflow_task: &step.workflow_task_json,
            domain: task.domain.as_deref(),
            rate_limit_per_frequency: step.definition.rate_limit_per_frequency,
            rate_limit_frequency_in_seconds: step.definition.rate_limit_frequency_in_seconds,
            external_input_payload_storage_path: task.external_input.then(|| path("input")),
            external_output_payload_storage_path: task.external_output.then(|| path("output")),
            workflow_priority: workflow.priority,
            iteration: 0,
            subworkflow_changed: false,
            first_start_time: 0,
            execution_metadata: ExecutionMetadata::default(),
            task_definition: &step.definition_json,
            loop_over_task: false,
            queue_wait_time: if task.start_time > 0 { task.start_time - task.scheduled_time } else { 0 },
        }
    }

    fn workflow_view<'a>(&'a self, workflow: &'a Workflow, include_tasks: bool) -> WorkflowView<'a> {
        let tasks = if include_tasks { workflow.tasks.as_slice() } else { &[] };
        WorkflowView {
            owner_app: "",
            create_time: workflow.create_time,
            update_time: workflow.update_time,
            status: workflow.status,
            end_time: workflow.end_time,
            workflow_id: workflow.id,
            tasks: tasks.iter().map(|task| self.task_view(&self.tasks[task])).collect(),
            input: &workflow.input,
            output: &workflow.output,
            correlation_id: workflow.correlation_id.as_deref(),
            reason_for_incompletion: workflow.reason.as_deref(),
            task_to_domain: &workflow.task_to_domain,
            failed_reference_task_names: &workflow.failed_reference_names,
            workflow_definition: &workflow.plan.definition_json,
            priority: workflow.priority,
            variables: BTreeMap::new(),
            last_retried_time: workflow.last_retried_time,
            failed_task_names: &workflow.failed_task_names,
            history: [],
            rate_limited: false,
            start_time: workflow.create_time,
            workflow_name: &workflow.plan.definition.name,
            workflow_version: workflow.plan.definition.version,
        }
    }
}

fn empty() -> &'static Raw {
    static EMPTY: std::sync::OnceLock<Raw> = std::sync::OnceLock::new();
    EMPTY.get_or_init(Raw::empty_object)
}
