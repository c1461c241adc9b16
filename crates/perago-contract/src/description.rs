//! A task as its authoring language hands it over.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::controls::TaskControls;
use crate::error::ContractError;
use crate::finding::Finding;
use crate::identity::{check_owner_email, check_task_name};
use crate::metric_spec::MetricSpec;
use crate::taskdef::{self, TaskSchemas};
use crate::workspace_spec::WorkspaceSpec;

/// Where a task is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLocation {
    /// Path of the author's file.
    pub file: String,
    /// Line of the declaration, counted from 1.
    pub line: u32,
}

/// Everything that one task declares, in plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDescription {
    /// Conductor's name of the task.
    pub name: String,
    /// Who answers for it.
    pub owner_email: String,
    /// Free text or, as the older package allowed it, any JSON value.
    #[serde(default)]
    pub description: Option<Value>,
    /// Whether unknown fields in the parameters are refused rather than ignored.
    #[serde(default)]
    pub strict_params: bool,
    /// The workspace it asks for.
    #[serde(default)]
    pub workspace: Option<WorkspaceSpec>,
    /// Switches of the built-in metrics and bucket bounds; `None` is a task without metrics.
    #[serde(default)]
    pub metrics: Option<MetricSpec>,
    /// How Conductor treats it.
    #[serde(default)]
    pub controls: TaskControls,
    /// JSON Schema of the parameters, as the language's generator emits it.
    pub params_schema: Value,
    /// JSON Schema of the result, as the language's generator emits it.
    pub result_schema: Value,
    /// Where it is declared.
    #[serde(default)]
    pub source: Option<SourceLocation>,
    /// What the authoring side found worth a warning.
    #[serde(default)]
    pub warnings: Vec<Finding>,
}

impl TaskDescription {
    /// All violated rules and all warnings, in the order in which an author reads a declaration.
    pub fn validate(&self) -> Vec<Finding> {
        let mut errors: Vec<ContractError> = Vec::new();
        errors.extend(check_task_name(&self.name).err());
        errors.extend(check_owner_email(&self.owner_email).err());
        errors.extend(self.workspace.iter().flat_map(WorkspaceSpec::violations));
        errors.extend(self.metrics.iter().flat_map(MetricSpec::violations));
        errors.extend(self.controls.violations());
        if self.controls.publish_budget.is_some() && self.workspace.is_none() {
            errors.push(
                ContractError::new(
                    "PERAGO-PUBLISH-BUDGET",
                    "publish_budget requires workspace=WorkspaceSpec(...)",
                )
                .with_hint("a task without a workspace publishes nothing: remove the budget"),
            );
        }
        errors.extend(TaskSchemas::of(self).err());
        let mut findings: Vec<Finding> = errors.into_iter().map(ContractError::into_finding).collect();
        findings.extend(self.budget_warning());
        findings.extend(self.metrics.iter().flat_map(|spec| spec.timeout_warnings(&self.controls.timeout)));
        findings.extend(self.warnings.iter().cloned());
        if let Some(source) = &self.source {
            for finding in findings.iter_mut().filter(|finding| finding.file.is_none()) {
                finding.file = Some(source.file.clone());
                finding.line = Some(source.line);
            }
        }
        findings
    }

    /// The TaskDef that Conductor gets, keys in the contract's order.
    ///
    /// # Errors
    /// The first violated rule that [`Self::validate`] would report.
    pub fn task_def(&self) -> Result<Value, ContractError> {
        check_task_name(&self.name)?;
        check_owner_email(&self.owner_email)?;
        taskdef::build(self)
    }

    /// Whether the task works on a workspace.
    pub fn has_workspace(&self) -> bool {
        self.workspace.is_some()
    }

    fn budget_warning(&self) -> Option<Finding> {
        let (workspace, budget) = (self.workspace.as_ref()?, self.controls.publish_budget.as_ref()?);
        if workspace.read_only {
            return Some(Finding::warning(
                "PERAGO-BUDGET-IGNORED",
                "WorkspaceSpec(read_only=True) disables workspace publication; TaskControls.publish_budget is ignored.",
            ));
        }
        let (lease, needed) = (self.controls.timeout.response_seconds, budget.response_timeout_seconds());
        (needed > lease).then(|| {
            let message = format!(
                "task {} may lose its lease while it publishes: \
                 TaskControls.timeout.response_seconds={lease} is less than \
                 publish_budget.response_timeout_seconds={needed}",
                self.name
            );
            Finding::warning("PERAGO-BUDGET-EXCEEDS-LEASE", message)
                .with_hint(format!("set TimeoutPolicy(response_seconds={needed}) or more"))
        })
    }
}
