//! Guardrails for Python: the same rules in the helpers of an author's tests as in a worker.

use std::path::PathBuf;

use perago_contract::{Guardrail, GuardrailKind};
use perago_workspace::{GlobDialect, violation_of};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Why a guardrail does not hold for a directory; `None` when it does.
#[pyfunction]
#[pyo3(signature = (root, kind, path, min_count, max_count, /), text_signature = "(root, kind, path, min_count, max_count, /)")]
pub(crate) fn guardrail_violation(
    py: Python<'_>,
    root: PathBuf,
    kind: &str,
    path: String,
    min_count: Option<i64>,
    max_count: Option<i64>,
) -> PyResult<Option<String>> {
    let kind = kind_of(kind).ok_or_else(|| PyValueError::new_err(format!("unknown guardrail {kind}")))?;
    let version = py.version_info();
    let dialect = GlobDialect::of_python(version.major.into(), version.minor.into());
    let guardrail = Guardrail { kind, path, min_count, max_count };
    Ok(py.detach(move || violation_of(&root, &guardrail, dialect)))
}

fn kind_of(name: &str) -> Option<GuardrailKind> {
    use GuardrailKind::{ForbidGlob, RequireDir, RequireFile, RequireGlob};
    [RequireFile, RequireDir, RequireGlob, ForbidGlob].into_iter().find(|kind| kind.name() == name)
}
