//! What a task gets from Conductor and gives back: `workspace` and `params` in, `workspace` and `result` out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A commit of a repository, as it travels between tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceRef {
    /// Name of the repository.
    pub repository: String,
    /// Branch that a result is published to.
    pub branch: String,
    /// What `ref` is; only commits are pinned.
    #[serde(rename = "refType")]
    pub ref_type: RefType,
    /// The commit.
    #[serde(rename = "ref")]
    pub reference: String,
}

/// What a workspace reference points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefType {
    /// A commit id.
    Commit,
}

impl WorkspaceRef {
    /// The same repository and branch at the commit that was published.
    #[must_use]
    pub fn published_output(&self, reference: impl Into<String>) -> Self {
        Self { reference: reference.into(), ..self.clone() }
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        let fields = [("repository", &self.repository), ("branch", &self.branch), ("ref", &self.reference)];
        match fields.into_iter().find(|(_, value)| value.trim().is_empty()) {
            Some((field, _)) => Err(EnvelopeError::Workspace(format!("{field} must not be blank"))),
            None => Ok(()),
        }
    }
}

/// Why an input is not what the task needs; none of the texts holds a value of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A key is missing.
    #[error("{0}")]
    MissingKey(&'static str),
    /// The input is not a JSON object.
    #[error("task input must be a JSON object")]
    NotObject,
    /// The workspace reference breaks its contract.
    #[error("workspace: {0}")]
    Workspace(String),
}

/// The input of one attempt.
#[derive(Debug, Clone)]
pub struct TaskInput {
    /// The pinned workspace of a workspace task.
    pub workspace: Option<WorkspaceRef>,
    /// The parameters as they came, for the body's own validation.
    pub params: Box<RawValue>,
}

#[derive(Deserialize)]
struct RawInput<'a> {
    #[serde(borrow)]
    workspace: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl TaskInput {
    /// Splits an input; keys other than `workspace` and `params` are ignored, because workflows pass along more than
    /// one task needs.
    pub fn parse(input: &str, has_workspace: bool) -> Result<Self, EnvelopeError> {
        let raw: RawInput<'_> = serde_json::from_str(input).map_err(|_| EnvelopeError::NotObject)?;
        if has_workspace {
            let (Some(workspace), Some(params)) = (raw.workspace, raw.params) else {
                return Err(EnvelopeError::MissingKey(
                    "workspace task input must contain workspace and params",
                ));
            };
            let workspace = parse_workspace(workspace)?;
            return Ok(Self { workspace: Some(workspace), params: params.to_owned() });
        }
        let params =
            raw.params.ok_or(EnvelopeError::MissingKey("workspace-free task input must contain params"))?;
        Ok(Self { workspace: None, params: params.to_owned() })
    }
}

fn parse_workspace(raw: &RawValue) -> Result<WorkspaceRef, EnvelopeError> {
    let workspace: WorkspaceRef = serde_json::from_str(raw.get()).map_err(|_| {
        EnvelopeError::Workspace(
            "must hold exactly the strings repository, branch, refType (\"commit\") and ref".to_owned(),
        )
    })?;
    workspace.check()?;
    Ok(workspace)
}

/// The output of one attempt.
#[derive(Debug, Serialize)]
pub struct TaskOutput<'a> {
    /// The published workspace of a workspace task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Cow<'a, WorkspaceRef>>,
    /// The result as the body's side serialised it.
    pub result: &'a RawValue,
}

impl<'a> TaskOutput<'a> {
    /// The output of a task without workspace.
    pub fn new(result: &'a RawValue) -> Self {
        Self { workspace: None, result }
    }

    /// The output of a workspace task that published `reference` (or, read-only, still stands on it).
    pub fn with_workspace(input: &WorkspaceRef, reference: impl Into<String>, result: &'a RawValue) -> Self {
        Self { workspace: Some(Cow::Owned(input.published_output(reference))), result }
    }

    /// The output as JSON text.
    ///
    /// # Panics
    /// Never: strings and valid JSON always serialise.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and valid JSON always serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = r#"{"repository":"r","branch":"main","refType":"commit","ref":"abc"}"#;

    #[test]
    fn params_keep_their_text_and_other_keys_are_ignored() {
        let input = TaskInput::parse(r#"{"x": 1, "params": {"a": 1.50}}"#, false).unwrap();
        assert_eq!(input.params.get(), r#"{"a": 1.50}"#);
        assert_eq!(input.workspace, None);
    }

    #[test]
    fn missing_keys_are_named() {
        let message = |text, has_workspace| TaskInput::parse(text, has_workspace).unwrap_err().to_string();
        assert_eq!(message("{}", false), "workspace-free task input must contain params");
        assert_eq!(
            message(r#"{"params": {}}"#, true),
            "workspace task input must contain workspace and params"
        );
        assert_eq!(message("[]", false), "task input must be a JSON object");
    }

    #[test]
    fn workspace_is_closed_and_not_blank() {
        let parse = |workspace: &str| {
            TaskInput::parse(&format!(r#"{{"workspace":{workspace},"params":{{}}}}"#), true)
        };
        let input = parse(WORKSPACE).unwrap();
        let raw = RawValue::from_string("{\"n\":1}".to_owned()).unwrap();
        let output = TaskOutput::with_workspace(input.workspace.as_ref().unwrap(), "def", &raw);
        let wanted = r#"{"workspace":{"repository":"r","branch":"main","refType":"commit","ref":"def"},"result":{"n":1}}"#;
        assert_eq!(output.to_json(), wanted);
        assert_eq!(TaskOutput::new(&raw).to_json(), r#"{"result":{"n":1}}"#);
        let blank = WORKSPACE.replace("main", " ");
        assert!(parse(&blank).unwrap_err().to_string().contains("branch must not be blank"));
        for bad in
            [&WORKSPACE.replace("commit", "branch"), &WORKSPACE.replace("refType", "ref_type"), "null", "3"]
        {
            assert!(
                matches!(parse(bad), Err(EnvelopeError::Workspace(_) | EnvelopeError::MissingKey(_))),
                "{bad}"
            );
        }
    }
}
