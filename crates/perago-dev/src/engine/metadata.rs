//! Task and workflow definitions: stored, replaced, listed, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::error::{EngineError, Violation};
use super::model::{Plan, Step};
use super::task_definition::TaskDefinition;
use super::workflow_definition::WorkflowDefinition;
use super::{Engine, Raw};

/// Definitions by name, and by name and version.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    tasks: BTreeMap<String, TaskDefinition>,
    workflows: BTreeMap<String, BTreeMap<i64, WorkflowDefinition>>,
}

/// Result of a request over several items.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkResult {
    /// Failures by item.
    pub bulk_error_results: BTreeMap<String, String>,
    /// Items done.
    pub bulk_successful_results: Vec<String>,
}

impl Engine {
    /// Stores task definitions, replacing those of the same name (`POST /metadata/taskdefs`).
    pub fn register_task_definitions(
        &mut self,
        definitions: Vec<TaskDefinition>,
        now: i64,
    ) -> Result<(), EngineError> {
        let path = "registerTaskDef.arg0";
        if definitions.is_empty() {
            return EngineError::of_violations(vec![Violation::of_object(path, "TaskDefList is empty")]);
        }
        let numbered = definitions.iter().enumerate();
        let violations =
            numbered.flat_map(|(at, definition)| definition.violations(&format!("{path}[{at}]")));
        EngineError::of_violations(violations.collect())?;
        for definition in definitions {
            self.definitions.tasks.insert(definition.name.clone(), definition.created(now));
        }
        self.plans.clear();
        Ok(())
    }

    /// Replaces one existing task definition (`PUT /metadata/taskdefs`).
    pub fn update_task_definition(
        &mut self,
        definition: TaskDefinition,
        now: i64,
    ) -> Result<(), EngineError> {
        EngineError::of_violations(definition.violations("updateTaskDef.arg0"))?;
        let Some(earlier) = self.definitions.tasks.get(&definition.name) else {
            return Err(EngineError::not_found(format!("No such task by name {}", definition.name)));
        };
        let updated = definition.updated(earlier, now);
        self.definitions.tasks.insert(updated.name.clone(), updated);
        self.plans.clear();
        Ok(())
    }

    /// Returns one task definition.
    pub fn task_definition(&self, name: &str) -> Result<&TaskDefinition, EngineError> {
        let found = self.definitions.tasks.get(name);
        found.ok_or_else(|| EngineError::not_found(format!("No such taskType found by name: {name}")))
    }

    /// Returns every task definition.
    pub fn task_definitions(&self) -> Vec<&TaskDefinition> {
        self.definitions.tasks.values().collect()
    }

    /// Deletes one task definition.
    pub fn delete_task_definition(&mut self, name: &str) -> Result<(), EngineError> {
        self.plans.clear();
        let removed = self.definitions.tasks.remove(name).map(drop);
        removed.ok_or_else(|| EngineError::internal("No such task definition"))
    }

    /// Stores a new workflow definition (`POST /metadata/workflow`).
    pub fn register_workflow(
        &mut self,
        mut definition: WorkflowDefinition,
        now: i64,
    ) -> Result<(), EngineError> {
        definition.check("registerWorkflowDef")?;
        let versions = self.definitions.workflows.entry(definition.name.clone()).or_default();
        if versions.contains_key(&definition.version) {
            let message = format!("Workflow with {}.{} already exists!", definition.name, definition.version);
            return Err(EngineError::conflict(message));
        }
        definition.create_time = now;
        definition.update_time = 0;
        versions.insert(definition.version, definition);
        Ok(())
    }

    /// Stores or replaces workflow definitions (`PUT /metadata/workflow`); invalid ones are reported by name.
    pub fn update_workflows(
        &mut self,
        definitions: Vec<WorkflowDefinition>,
        now: i64,
    ) -> Result<BulkResult, EngineError> {
        for definition in &definitions {
            definition.check("updateWorkflowDef")?;
        }
        let mut result = BulkResult::default();
        for mut definition in definitions {
            definition.update_time = now;
            let key = (definition.name.clone(), definition.version);
            self.plans.remove(&key);
            result.bulk_successful_results.push(definition.name.clone());
            self.definitions.workflows.entry(key.0).or_default().insert(key.1, definition);
        }
        Ok(result)
    }

    /// Returns a workflow definition, the latest where no version is named.
    pub fn workflow_definition(
        &self,
        name: &str,
        version: Option<i64>,
    ) -> Result<&WorkflowDefinition, EngineError> {
        self.find_workflow(name, version).ok_or_else(|| {
            let version = version.map_or_else(|| "null".to_owned(), |version| version.to_string());
            EngineError::not_found(format!("No such workflow found by name: {name}, version: {version}"))
        })
    }

    /// Returns every workflow definition in every version.
    pub fn workflow_definitions(&self) -> Vec<&WorkflowDefinition> {
        self.definitions.workflows.values().flat_map(BTreeMap::values).collect()
    }

    /// Deletes one version of a workflow definition.
    pub fn delete_workflow_definition(&mut self, name: &str, version: i64) -> Result<(), EngineError> {
        self.plans.remove(&(name.to_owned(), version));
        let removed = self.definitions.workflows.get_mut(name).and_then(|versions| versions.remove(&version));
        removed.map(drop).ok_or_else(|| {
            EngineError::not_found(format!("No such workflow definition: {name} version: {version}"))
        })
    }

    fn find_workflow(&self, name: &str, version: Option<i64>) -> Option<&WorkflowDefinition> {
        let versions = self.definitions.workflows.get(name)?;
        match version {
            Some(version) => versions.get(&version),
            None => versions.values().next_back(),
        }
    }

    /// Returns the plan of a stored definition, made once until a definition changes.
    pub(super) fn stored_plan(&mut self, name: &str, version: Option<i64>) -> Option<Arc<Plan>> {
        let definition = self.find_workflow(name, version)?;
        let key = (name.to_owned(), definition.version);
        if let Some(plan) = self.plans.get(&key) {
            return Some(plan.clone());
        }
        let plan = Arc::new(self.plan_of(definition.clone()));
        self.plans.insert(key, plan.clone());
        Some(plan)
    }

    /// Embeds the task definitions of now into a workflow definition.
    pub(super) fn plan_of(&self, mut definition: WorkflowDefinition) -> Plan {
        let mut steps = Vec::with_capacity(definition.tasks.len());
        for task in &mut definition.tasks {
            let known = self.definitions.tasks.get(&task.name).cloned();
            let embedded = known.unwrap_or_else(|| TaskDefinition::implicit(&task.name));
            task.kind = Some("SIMPLE".to_owned());
            task.task_definition = Some(embedded.clone());
            let mut template = embedded.input_template.clone();
            template.extend(task.input_parameters.clone());
            steps.push(Step {
                name: task.name.as_str().into(),
                reference: task.task_reference_name.clone(),
                retry_count: task.retry_count.unwrap_or(embedded.retry_count),
                template: Value::Object(template),
                optional: task.optional,
                start_delay_seconds: task.start_delay.max(0),
                definition_json: Raw::of(&embedded),
                workflow_task_json: Raw::of(task),
                definition: embedded,
            });
        }
        let output_template = Value::Object(definition.output_parameters.clone());
        Plan { definition_json: Raw::of(&definition), definition, output_template, steps }
    }
}
