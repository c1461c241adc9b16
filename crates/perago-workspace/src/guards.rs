//! Guardrails: what must hold of a workspace before and after a body.

use std::path::Path;

use perago_contract::{FailureCode, Guardrail, GuardrailKind};

use crate::error::WorkspaceError;
use crate::glob::{GlobDialect, count_matches};
use crate::path::MARKER_FILE;

/// When guardrails are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardPhase {
    /// Before the body; a violation is final.
    Pre,
    /// After the body; a retry may do better.
    Post,
}

impl GuardPhase {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
        }
    }

    fn code(self) -> FailureCode {
        match self {
            Self::Pre => FailureCode::PreGuardrail,
            Self::Post => FailureCode::PostGuardrail,
        }
    }
}

/// Checks guardrails in order.
///
/// # Errors
/// The first one that does not hold, as `pre_guardrail` or `post_guardrail`.
pub fn check_guardrails(
    root: &Path,
    guardrails: &[Guardrail],
    phase: GuardPhase,
    dialect: GlobDialect,
) -> Result<(), WorkspaceError> {
    for guardrail in guardrails {
        if let Some(violation) = violation_of(root, guardrail, dialect) {
            let message = format!(
                "{} guardrail {}('{}') {violation}",
                phase.name(),
                guardrail.kind.name(),
                guardrail.path
            );
            return Err(WorkspaceError::new(phase.code(), message));
        }
    }
    Ok(())
}

/// Why a guardrail does not hold; `None` when it does.
pub fn violation_of(root: &Path, guardrail: &Guardrail, dialect: GlobDialect) -> Option<String> {
    let path = root.join(&guardrail.path);
    let is_marker = guardrail.path.rsplit('/').next() == Some(MARKER_FILE);
    match guardrail.kind {
        GuardrailKind::RequireFile => {
            (is_marker || !path.is_file()).then(|| "did not find a file".to_owned())
        }
        GuardrailKind::RequireDir => (!path.is_dir()).then(|| "did not find a directory".to_owned()),
        GuardrailKind::ForbidGlob => match count_matches(root, &guardrail.path, dialect) {
            0 => None,
            count => Some(format!("matched {count} files")),
        },
        GuardrailKind::RequireGlob => {
            let count = i64::try_from(count_matches(root, &guardrail.path, dialect)).unwrap_or(i64::MAX);
            match (guardrail.min_count, guardrail.max_count) {
                (Some(min), _) if count < min => Some(format!("matched {count} files; min_count={min}")),
                (_, Some(max)) if count > max => Some(format!("matched {count} files; max_count={max}")),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guardrail(kind: GuardrailKind, path: &str, min: Option<i64>, max: Option<i64>) -> Guardrail {
        Guardrail { kind, path: path.to_owned(), min_count: min, max_count: max }
    }

    #[test]
    fn violations_name_the_guardrail_and_what_was_found() {
        use GuardrailKind::{ForbidGlob, RequireDir, RequireFile, RequireGlob};
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("raw")).unwrap();
        for name in ["raw/1.wav", "raw/2.wav", MARKER_FILE] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let check = |rail: Guardrail| {
            check_guardrails(folder.path(), &[rail], GuardPhase::Pre, GlobDialect::default())
                .map_err(|error| error.to_string())
        };
        for (rail, wanted) in [
            (guardrail(RequireFile, "raw/1.wav", None, None), Ok(())),
            (guardrail(RequireFile, "raw", None, None), Err("require_file('raw') did not find a file")),
            (
                guardrail(RequireFile, MARKER_FILE, None, None),
                Err("require_file('.perago-attempt.json') did not find a file"),
            ),
            (guardrail(RequireDir, "raw", None, None), Ok(())),
            (guardrail(RequireDir, "out", None, None), Err("require_dir('out') did not find a directory")),
            (guardrail(RequireGlob, "raw/*", Some(2), Some(2)), Ok(())),
            (
                guardrail(RequireGlob, "raw/*", Some(3), None),
                Err("require_glob('raw/*') matched 2 files; min_count=3"),
            ),
            (
                guardrail(RequireGlob, "raw/*", Some(0), Some(1)),
                Err("require_glob('raw/*') matched 2 files; max_count=1"),
            ),
            (guardrail(ForbidGlob, "tmp/**", None, None), Ok(())),
            (guardrail(ForbidGlob, "raw/*", None, None), Err("forbid_glob('raw/*') matched 2 files")),
        ] {
            let wanted = wanted.map_err(|text: &str| format!("pre guardrail {text}"));
            assert_eq!(check(rail), wanted);
        }
    }

    #[test]
    fn the_phase_decides_whether_a_retry_can_help() {
        let folder = tempfile::tempdir().unwrap();
        let rails = [guardrail(GuardrailKind::RequireFile, "x", None, None)];
        let code = |phase| {
            check_guardrails(folder.path(), &rails, phase, GlobDialect::default()).unwrap_err().code()
        };
        assert!(code(GuardPhase::Pre).is_terminal());
        assert!(!code(GuardPhase::Post).is_terminal());
    }
}
