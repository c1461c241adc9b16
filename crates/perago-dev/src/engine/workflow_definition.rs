//! Workflow definitions: fields, defaults, validation, and what of them the embedded engine can run.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{EngineError, Violation};
use super::expression::{Path, for_each_expression};
use super::task_definition::TaskDefinition;

/// One step of a workflow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowTask {
    /// Task type that workers poll.
    pub name: String,
    /// Name of the step inside its workflow.
    pub task_reference_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Template of the input, with expressions.
    pub input_parameters: Map<String, Value>,
    /// Kind of step; only `SIMPLE` runs here.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    decision_cases: Map<String, Value>,
    default_case: Vec<Value>,
    fork_tasks: Vec<Value>,
    /// Seconds before the step is handed out first.
    pub start_delay: i64,
    join_on: Vec<Value>,
    /// Whether the workflow goes on when this step fails.
    pub optional: bool,
    /// The task definition, embedded when a run starts.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub task_definition: Option<TaskDefinition>,
    default_exclusive_join_task: Vec<Value>,
    async_complete: bool,
    loop_over: Vec<Value>,
    /// Overrides the definition's number of retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<i64>,
    on_state_change: Map<String, Value>,
    permissive: bool,
    metadata: Map<String, Value>,
    #[serde(skip_serializing)]
    cache_config: Option<Value>,
}

/// A workflow definition as stored and served.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowDefinition {
    /// Epoch milliseconds.
    pub create_time: i64,
    /// Epoch milliseconds of the last `PUT`.
    pub update_time: i64,
    /// Name.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Version; runs use the latest unless they name one.
    pub version: i64,
    /// Steps in order.
    pub tasks: Vec<WorkflowTask>,
    input_parameters: Vec<Value>,
    /// Template of the run's output; empty means the last step's output.
    pub output_parameters: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_workflow: Option<String>,
    schema_version: i64,
    restartable: bool,
    workflow_status_listener_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_email: Option<String>,
    /// `TIME_OUT_WF` or `ALERT_ONLY`.
    pub timeout_policy: WorkflowTimeoutPolicy,
    /// Longest run in seconds; 0 is unlimited.
    pub timeout_seconds: i64,
    variables: Map<String, Value>,
    /// Defaults for the run's input.
    pub input_template: Map<String, Value>,
    enforce_schema: bool,
    metadata: Map<String, Value>,
    masked_fields: Vec<Value>,
}

/// What a run that exceeds its `timeoutSeconds` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkflowTimeoutPolicy {
    /// The run ends as `TIMED_OUT`.
    TimeOutWf,
    /// Nothing.
    #[default]
    AlertOnly,
}

impl Default for WorkflowDefinition {
    fn default() -> Self {
        Self {
            create_time: 0,
            update_time: 0,
            name: String::new(),
            description: None,
            version: 1,
            tasks: Vec::new(),
            input_parameters: Vec::new(),
            output_parameters: Map::new(),
            failure_workflow: None,
            schema_version: 2,
            restartable: true,
            workflow_status_listener_enabled: false,
            owner_email: None,
            timeout_policy: WorkflowTimeoutPolicy::AlertOnly,
            timeout_seconds: 0,
            variables: Map::new(),
            input_template: Map::new(),
            enforce_schema: true,
            metadata: Map::new(),
            masked_fields: Vec::new(),
        }
    }
}

impl WorkflowDefinition {
    /// Checks the definition as the server does, then refuses with 501 what only the server can run.
    pub fn check(&self, method: &str) -> Result<(), EngineError> {
        EngineError::of_violations(self.violations(&format!("{method}.arg0")))?;
        self.supported()
    }

    fn violations(&self, path: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        if self.name.trim().is_empty() {
            let message = "WorkflowDef name cannot be null or empty";
            found.push(Violation::of_field(format!("{path}.name"), message, &self.name));
        }
        if self.tasks.is_empty() {
            found.push(Violation::of_object(format!("{path}.tasks"), "WorkflowTask list cannot be empty"));
        }
        for (position, task) in self.tasks.iter().enumerate() {
            let path = format!("{path}.tasks[{position}]");
            if task.task_reference_name.is_empty() {
                let message = "WorkflowTask taskReferenceName name cannot be empty or null";
                found.push(Violation::of_field(format!("{path}.taskReferenceName"), message, ""));
            }
            if task.name.is_empty() {
                let message = "WorkflowTask name cannot be empty or null";
                found.push(Violation::of_field(format!("{path}.name"), message, ""));
            }
        }
        if found.is_empty() {
            found.extend(self.reference_violations(path));
        }
        found
    }

    fn reference_violations(&self, path: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut names = HashSet::new();
        for task in &self.tasks {
            if !names.insert(task.task_reference_name.as_str()) {
                let message = format!(
                    "taskReferenceName: {} should be unique across tasks for a given workflowDefinition: {}",
                    task.task_reference_name, self.name
                );
                found.push(Violation::of_object(path, message));
            }
        }
        for task in &self.tasks {
            for (key, template) in &task.input_parameters {
                for_each_expression(template, &mut |expression| {
                    let source = expression.split(['.', '[']).next().unwrap_or_default().trim();
                    if source.is_empty() {
                        let message = format!("key: {key} input parameter value:  is not valid");
                        found.push(Violation::of_object(path, message));
                    } else if source != "workflow" && !names.contains(source) {
                        let message = format!(
                            "taskReferenceName: {source} for given task: {} input value: {key} of input parameter: \
                             ${{{expression}}} is not defined in workflow definition.",
                            task.name
                        );
                        found.push(Violation::of_object(path, message));
                    }
                });
            }
        }
        found
    }

    fn supported(&self) -> Result<(), EngineError> {
        if self.failure_workflow.as_deref().is_some_and(|name| !name.is_empty()) {
            return Err(EngineError::unsupported("a failureWorkflow"));
        }
        for task in &self.tasks {
            let name = &task.task_reference_name;
            match task.kind.as_deref() {
                None | Some("SIMPLE") => {}
                Some(kind) => return Err(EngineError::unsupported(format!("tasks of type {kind} ({name})"))),
            }
            let special = [
                (task.permissive, "permissive"),
                (!task.on_state_change.is_empty(), "onStateChange"),
                (task.cache_config.is_some(), "cacheConfig"),
                (task.async_complete, "asyncComplete"),
            ];
            if let Some((_, field)) = special.iter().find(|(used, _)| *used) {
                return Err(EngineError::unsupported(format!("{field} of a task ({name})")));
            }
            for template in task.input_parameters.values() {
                expressions_supported(template)?;
            }
        }
        self.output_parameters.values().try_for_each(expressions_supported)
    }
}

fn expressions_supported(template: &Value) -> Result<(), EngineError> {
    let mut refused = None;
    for_each_expression(template, &mut |expression| {
        if Path::parse(expression).is_none() {
            refused.get_or_insert_with(|| format!("the expression ${{{expression}}}: only keys and indices"));
        }
    });
    refused.map_or(Ok(()), |what| Err(EngineError::unsupported(what)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(definition: Value) -> EngineError {
        serde_json::from_value::<WorkflowDefinition>(definition)
            .unwrap()
            .check("registerWorkflowDef")
            .unwrap_err()
    }

    #[test]
    fn what_cannot_run_is_501_and_what_is_wrong_400() {
        let step = |more: Value| {
            let mut step = json!({"name": "t", "taskReferenceName": "a", "type": "SIMPLE"});
            step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"name": "w", "version": 1, "tasks": [step]})
        };
        for kind in ["FORK_JOIN", "SWITCH", "DO_WHILE", "HTTP", "SUB_WORKFLOW"] {
            let error = checked(step(json!({"type": kind})));
            assert_eq!(error.status, 501, "{kind}");
            assert!(error.message.contains(kind));
        }
        assert_eq!(checked(step(json!({"inputParameters": {"x": "${a.output.l[*]}"}}))).status, 501);
        assert_eq!(checked(step(json!({"permissive": true}))).status, 501);
        let unknown = checked(step(json!({"inputParameters": {"q": "${zz.output.q}"}})));
        assert_eq!(unknown.status, 400);
        assert!(unknown.violations[0].message.starts_with("taskReferenceName: zz for given task: t"));
        assert_eq!(checked(json!({"name": "w", "tasks": []})).status, 400);
    }
}
