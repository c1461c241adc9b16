//! Rules that a workspace must meet before or after a body.

use serde::{Deserialize, Serialize};

use crate::error::ContractError;

const PATH_CODE: &str = "PERAGO-GUARDRAIL-PATH";
const COUNT_CODE: &str = "PERAGO-GUARDRAIL-COUNT";

/// What a guardrail asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailKind {
    /// A file at exactly this path.
    RequireFile,
    /// A directory at exactly this path.
    RequireDir,
    /// A number of matches of this pattern.
    RequireGlob,
    /// No match of this pattern.
    ForbidGlob,
}

impl GuardrailKind {
    /// The name of the builder that makes it, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequireFile => "require_file",
            Self::RequireDir => "require_dir",
            Self::RequireGlob => "require_glob",
            Self::ForbidGlob => "forbid_glob",
        }
    }
}

/// One rule on the files of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guardrail {
    /// What is asked for.
    pub kind: GuardrailKind,
    /// Path or glob pattern, relative to the workspace, with `/` as separator.
    pub path: String,
    /// Fewest matches of a pattern.
    #[serde(default)]
    pub min_count: Option<i64>,
    /// Most matches of a pattern.
    #[serde(default)]
    pub max_count: Option<i64>,
}

impl Guardrail {
    /// Every violated rule of this guardrail.
    pub fn violations(&self) -> Vec<ContractError> {
        let mut found = Vec::new();
        found.extend(check_workspace_path(&self.path).err());
        found.extend(self.count_violation());
        found
    }

    fn count_violation(&self) -> Option<ContractError> {
        let bounds = [("min_count", self.min_count), ("max_count", self.max_count)];
        let exact = matches!(self.kind, GuardrailKind::RequireFile | GuardrailKind::RequireDir);
        if exact && bounds.iter().any(|(_, bound)| bound.is_some()) {
            let message = format!("{} does not accept count bounds", self.kind.name());
            return Some(ContractError::new(COUNT_CODE, message));
        }
        if let Some((name, _)) = bounds.iter().find(|(_, bound)| bound.is_some_and(|count| count < 0)) {
            return Some(ContractError::new(COUNT_CODE, format!("{name} must be >= 0")));
        }
        match (self.min_count, self.max_count) {
            (Some(min), Some(max)) if min > max => {
                Some(ContractError::new(COUNT_CODE, "min_count must be <= max_count"))
            }
            _ => None,
        }
    }
}

/// Checks a path inside a workspace (also an object key): relative, `/` as separator, no part that leaves or
/// doubles a directory, no drive.
pub fn check_workspace_path(path: &str) -> Result<(), ContractError> {
    let refuse = |message: &str| Err(ContractError::new(PATH_CODE, format!("workspace path {message}")));
    if path.contains('\\') {
        return refuse("must use '/' as its separator");
    }
    if path.starts_with('/') {
        return refuse("must be relative to the workspace");
    }
    let bytes = path.as_bytes();
    if bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' {
        return refuse("must not be drive-qualified");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("must be relative and must not contain empty parts, '.' or '..'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_the_rule_they_break() {
        for (path, keyword) in [
            ("a\\b", "must use '/'"),
            ("/a", "must be relative"),
            ("C:/x", "drive-qualified"),
            ("a:b", "drive-qualified"),
            ("", "must be relative"),
            ("a//b", "'..'"),
            ("./a", "'..'"),
            ("a/../b", "'..'"),
            ("a/", "must be relative"),
        ] {
            let error = check_workspace_path(path).unwrap_err();
            assert!(error.message().contains(keyword), "{path:?}: {error}");
        }
        for path in ["a", "in/*.txt", "tmp/**", "..a/b..", "1:b", "ä:b"] {
            assert_eq!(check_workspace_path(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn count_bounds_are_checked_by_kind() {
        let rail =
            |kind, min_count, max_count| Guardrail { kind, path: "a".to_owned(), min_count, max_count };
        let message = |rail: Guardrail| rail.violations().first().map(|error| error.message().to_owned());
        assert!(
            message(rail(GuardrailKind::RequireFile, Some(1), None))
                .unwrap()
                .contains("does not accept count bounds")
        );
        assert!(
            message(rail(GuardrailKind::RequireGlob, Some(-1), None))
                .unwrap()
                .contains("min_count must be >= 0")
        );
        assert!(
            message(rail(GuardrailKind::RequireGlob, Some(3), Some(2)))
                .unwrap()
                .contains("min_count must be <= max_count")
        );
        assert_eq!(message(rail(GuardrailKind::RequireGlob, Some(2), Some(2))), None);
        assert_eq!(message(rail(GuardrailKind::ForbidGlob, None, None)), None);
    }
}
