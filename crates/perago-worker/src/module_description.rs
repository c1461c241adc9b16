//! What an executor says about the author's module.

use perago_contract::{Finding, TaskDescription};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What an executor says about the module.
#[derive(Debug, Deserialize)]
pub struct ModuleDescription {
    /// The task, if the module declares one that can be described.
    #[serde(default)]
    pub task: Option<TaskDescription>,
    /// What is wrong or doubtful about it.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What only the authoring language can find doubtful; moved into `findings` by [`Self::parse`].
    #[serde(default)]
    warnings: Vec<Finding>,
}

impl ModuleDescription {
    /// Reads a description and adds what the contract finds.
    ///
    /// # Errors
    /// The parser's words, when it is not one.
    pub fn parse(raw: &RawValue) -> Result<Self, String> {
        let mut this: Self = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        let judged = this.task.as_ref().map(TaskDescription::validate).unwrap_or_default();
        for finding in std::mem::take(&mut this.warnings).into_iter().chain(judged) {
            if !this.findings.contains(&finding) {
                this.findings.push(finding);
            }
        }
        Ok(this)
    }

    /// The task, when nothing about the module is an error.
    ///
    /// # Errors
    /// All findings, when there is no usable task.
    pub fn usable_task(self) -> Result<(TaskDescription, Vec<Finding>), Vec<Finding>> {
        match self.task {
            Some(task) if !self.findings.iter().any(Finding::is_error) => Ok((task, self.findings)),
            _ => Err(self.findings),
        }
    }
}
