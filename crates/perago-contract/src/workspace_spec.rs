//! The workspace that a task asks for.

use serde::{Deserialize, Serialize};

use crate::error::ContractError;
use crate::guardrail::Guardrail;

const CODE: &str = "PERAGO-WORKSPACE-PREFIX";

/// What becomes of a publication when somebody else has committed to the branch since the input commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMovedHead {
    /// The attempt fails and names the other commit.
    #[default]
    Fail,
    /// Changes of other files are kept by a three-way merge; changes of the same file fail.
    Merge,
}

/// Which part of a repository a task sees as its directory, and what must hold there before and after its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkspaceSpec {
    /// Part of the repository, normalised by [`normalise_prefix`]; `/` is all of it.
    pub prefix: String,
    /// Checked before the body.
    pub pre: Vec<Guardrail>,
    /// Checked after the body.
    pub post: Vec<Guardrail>,
    /// Nothing is published.
    pub read_only: bool,
    /// What happens when the branch has moved since the input commit.
    pub on_moved_head: OnMovedHead,
}

impl Default for WorkspaceSpec {
    fn default() -> Self {
        Self {
            prefix: "/".to_owned(),
            pre: Vec::new(),
            post: Vec::new(),
            read_only: false,
            on_moved_head: OnMovedHead::default(),
        }
    }
}

impl WorkspaceSpec {
    /// Every violated rule of this spec.
    pub fn violations(&self) -> Vec<ContractError> {
        let prefix = normalise_prefix(&self.prefix).err();
        let guardrails = self.pre.iter().chain(&self.post).flat_map(Guardrail::violations);
        prefix.into_iter().chain(guardrails).collect()
    }
}

/// Normalises a workspace prefix: outer white space and leading slashes go, a lone `/` stays.
///
/// # Errors
/// A backslash, an empty remainder, or a part that is empty, `.` or `..` (so a trailing slash too).
pub fn normalise_prefix(prefix: &str) -> Result<String, ContractError> {
    if prefix.contains('\\') {
        return Err(ContractError::new(CODE, "workspace prefix must use '/' as its separator"));
    }
    let trimmed = prefix.trim();
    if trimmed == "/" {
        return Ok("/".to_owned());
    }
    let relative = trimmed.trim_start_matches('/');
    if relative.is_empty() {
        return Err(ContractError::new(CODE, "workspace prefix must not be empty")
            .with_hint("use \"/\" for the whole repository"));
    }
    if relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(ContractError::new(
            CODE,
            "workspace prefix must stay inside the repository: no empty part, '.' or '..'",
        ));
    }
    Ok(relative.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_prefixes_are_normalised() {
        for (given, wanted) in [
            ("/", "/"),
            (" / ", "/"),
            ("/audio", "audio"),
            (" /audio/render ", "audio/render"),
            ("//a", "a"),
            ("C:/x", "C:/x"),
            ("a b", "a b"),
        ] {
            assert_eq!(normalise_prefix(given).as_deref(), Ok(wanted), "{given:?}");
        }
    }

    #[test]
    fn rejected_prefixes_name_their_rule() {
        for (given, keyword) in [
            ("a\\b", "must use '/'"),
            ("", "must not be empty"),
            ("  ", "must not be empty"),
            ("//", "must not be empty"),
            ("a/", "must stay inside"),
            ("a//b", "must stay inside"),
            ("../a", "must stay inside"),
            ("a/./b", "must stay inside"),
        ] {
            let error = normalise_prefix(given).unwrap_err();
            assert!(error.message().contains(keyword), "{given:?}: {error}");
        }
    }

    #[test]
    fn a_moved_head_fails_unless_the_task_says_merge() {
        let parse = |text: &str| serde_json::from_str::<WorkspaceSpec>(text).map(|spec| spec.on_moved_head);
        assert_eq!(parse("{}").unwrap(), OnMovedHead::Fail);
        assert_eq!(parse(r#"{"on_moved_head": "merge"}"#).unwrap(), OnMovedHead::Merge);
        assert!(parse(r#"{"on_moved_head": "overwrite"}"#).is_err());
    }
}
