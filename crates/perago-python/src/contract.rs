//! The contract for Python: descriptions, schemas and findings cross as JSON bytes, small rules as plain values.

use perago_contract::{
    ContractError, FailureCode, Finding, StagingAttempt, TaskDescription, check_owner_email, check_task_name,
    check_workspace_path, failure, normalise_prefix, staging_branch_name, to_pretty_ascii_json,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::Value;

/// Normalises a workspace prefix.
#[pyfunction]
#[pyo3(signature = (prefix, /), text_signature = "(prefix, /)")]
pub(crate) fn workspace_prefix(py: Python<'_>, prefix: &str) -> PyResult<String> {
    normalise_prefix(prefix).map_err(|error| definition_error(py, &error))
}

/// Checks the path or pattern of a guardrail.
#[pyfunction]
#[pyo3(signature = (path, /), text_signature = "(path, /)")]
pub(crate) fn check_guardrail_path(py: Python<'_>, path: &str) -> PyResult<()> {
    check_workspace_path(path).map_err(|error| definition_error(py, &error))
}

/// Checks the name of a task.
#[pyfunction(name = "check_task_name")]
#[pyo3(signature = (name, /), text_signature = "(name, /)")]
pub(crate) fn check_name(py: Python<'_>, name: &str) -> PyResult<()> {
    check_task_name(name).map_err(|error| definition_error(py, &error))
}

/// Checks the owner of a task.
#[pyfunction(name = "check_owner_email")]
#[pyo3(signature = (owner_email, /), text_signature = "(owner_email, /)")]
pub(crate) fn check_owner(py: Python<'_>, owner_email: &str) -> PyResult<()> {
    check_owner_email(owner_email).map_err(|error| definition_error(py, &error))
}

/// Transforms the JSON Schema of a model for a TaskDef.
#[pyfunction]
#[pyo3(signature = (schema, /, *, allow_extra), text_signature = "(schema, /, *, allow_extra)")]
pub(crate) fn transform_schema<'py>(
    py: Python<'py>,
    schema: &[u8],
    allow_extra: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let schema: Value = parse(schema)?;
    let transformed = perago_contract::schema::transform(&schema, allow_extra)
        .map_err(|error| definition_error(py, &error))?;
    Ok(PyBytes::new(py, transformed.to_string().as_bytes()))
}

/// The TaskDef of a description as text, and the findings on it as JSON.
///
/// Raises `TaskDefinitionError` with the first finding that is an error.
#[pyfunction]
#[pyo3(signature = (description, /), text_signature = "(description, /)")]
pub(crate) fn task_definition<'py>(
    py: Python<'py>,
    description: &[u8],
) -> PyResult<(String, Bound<'py, PyBytes>)> {
    let description: TaskDescription = parse(description)?;
    let findings = description.validate();
    if let Some(finding) = findings.iter().find(|finding| finding.is_error()) {
        return Err(raise(py, &finding.message, &finding.code, finding.hint.as_deref()));
    }
    let task_def = description.task_def().map_err(|error| definition_error(py, &error))?;
    Ok((to_pretty_ascii_json(&task_def), findings_json(py, &findings)?))
}

/// A JSON document as Python's `json.dumps(value, indent=2)` writes it, with a final newline.
#[pyfunction]
#[pyo3(signature = (document, /), text_signature = "(document, /)")]
pub(crate) fn pretty_ascii_json(document: &[u8]) -> PyResult<String> {
    Ok(to_pretty_ascii_json(&parse::<Value>(document)?))
}

/// The name of the branch on which an attempt stages its files.
#[pyfunction(name = "staging_branch_name")]
#[pyo3(signature = (workflow_instance_id, reference_task_name, seq, iteration, task_id, retry_count, execution_id))]
pub(crate) fn staging_branch(
    workflow_instance_id: &str,
    reference_task_name: &str,
    seq: &str,
    iteration: &str,
    task_id: &str,
    retry_count: &str,
    execution_id: &str,
) -> String {
    staging_branch_name(&StagingAttempt {
        workflow_instance_id,
        reference_task_name,
        seq,
        iteration,
        task_id,
        retry_count,
        execution_id,
    })
}

/// Every failure code with whether it is terminal and what to do about it.
#[pyfunction]
pub(crate) fn failure_catalogue() -> Vec<(&'static str, bool, &'static str)> {
    FailureCode::ALL.iter().map(|failure| (failure.code(), failure.is_terminal(), failure.hint())).collect()
}

/// A failure reason cut to a number of characters, and its original length if it was cut.
#[pyfunction(name = "cut_reason")]
#[pyo3(signature = (reason, most_characters, /), text_signature = "(reason, most_characters, /)")]
pub(crate) fn cut_failure_reason(reason: &str, most_characters: usize) -> (&str, Option<usize>) {
    failure::cut_reason(reason, most_characters)
}

fn parse<T: serde::de::DeserializeOwned>(document: &[u8]) -> PyResult<T> {
    serde_json::from_slice(document).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn findings_json<'py>(py: Python<'py>, findings: &[Finding]) -> PyResult<Bound<'py, PyBytes>> {
    let document = serde_json::to_vec(findings).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &document))
}

fn definition_error(py: Python<'_>, error: &ContractError) -> PyErr {
    raise(py, error.message(), error.code(), error.hint())
}

/// A `TaskDefinitionError`; the class lives in Python so that authors can pickle and subclass it.
fn raise(py: Python<'_>, message: &str, code: &str, hint: Option<&str>) -> PyErr {
    let build = || -> PyResult<PyErr> {
        let class = py.import("perago.errors")?.getattr("TaskDefinitionError")?;
        let keywords = PyDict::new(py);
        keywords.set_item("code", code)?;
        keywords.set_item("hint", hint)?;
        Ok(PyErr::from_value(class.call((message,), Some(&keywords))?))
    };
    build().unwrap_or_else(|error| error)
}
