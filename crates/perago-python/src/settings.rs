//! Settings for Python: values cross as plain dictionaries, durations as whole seconds, errors as
//! `RuntimeConfigError` with code and hint.

#![expect(clippy::needless_pass_by_value, reason = "arguments are extracted from Python as owned values")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use perago_worker::settings::{
    self, Compression, Environment, LakeFsSettings, MetricsSettings, Settings, SettingsError, conductor,
    dotenv, identity, lakefs, metrics, quantities, roots,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Variables by name.
type Variables = BTreeMap<String, String>;

/// The names of the points at which a worker can be told to kill itself.
#[pyfunction]
pub(crate) fn kill_points() -> Vec<&'static str> {
    perago_worker::kill_point::KILL_POINTS.iter().map(|(name, _)| *name).collect()
}

/// Loads all settings of a module.
#[pyfunction]
#[pyo3(text_signature = "(module_target, cwd, process_env, probe_roots)")]
pub(crate) fn load_settings<'py>(
    py: Python<'py>,
    module_target: &str,
    cwd: PathBuf,
    process_env: Variables,
    probe_roots: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let settings = py
        .detach(|| Settings::load(module_target, &cwd, &process_env, probe_roots))
        .map_err(|error| config_error(py, &error))?;
    let values = PyDict::new(py);
    values.set_item("workspace_root", &settings.workspace_root)?;
    values.set_item("log_root", &settings.log_root)?;
    values.set_item("log_file_max_size", settings.log_file_max_size)?;
    values.set_item("log_retention", settings.log_retention.as_secs())?;
    values.set_item("worker_id_prefix", &settings.worker_id_prefix)?;
    values.set_item("execution_mode", settings.execution_mode.as_str())?;
    values.set_item("workspace_gc_ttl", settings.workspace_gc_ttl.as_secs())?;
    values.set_item("workspace_gc_interval", settings.workspace_gc_interval.as_secs())?;
    values.set_item(
        "shutdown_force_kill_after",
        settings.shutdown_force_kill_after.map(|after| after.as_secs()),
    )?;
    values.set_item("failure_reason_max_length", settings.failure_reason_max_length)?;
    values.set_item("conductor", conductor_values(py, settings.conductor.as_ref())?)?;
    values.set_item("lakefs", lakefs_values(py, settings.lakefs.as_ref())?)?;
    values.set_item("metrics", metrics_values(py, settings.metrics.as_ref())?)?;
    Ok(values)
}

/// Reads the `.env` file at a path; a missing one is empty.
#[pyfunction(name = "read_dotenv")]
#[pyo3(text_signature = "(path)")]
pub(crate) fn read_dotenv_file(py: Python<'_>, path: PathBuf) -> PyResult<Variables> {
    dotenv::read(&path).map_err(|error| config_error(py, &error))
}

/// Parses a duration such as `24h` into seconds.
#[pyfunction]
#[pyo3(text_signature = "(name, value)")]
pub(crate) fn parse_duration_seconds(py: Python<'_>, name: &str, value: &str) -> PyResult<u64> {
    quantities::duration(name, value).map(|read| read.as_secs()).map_err(|error| config_error(py, &error))
}

/// Parses a number of days such as `30d` into seconds.
#[pyfunction]
#[pyo3(text_signature = "(name, value)")]
pub(crate) fn parse_days_seconds(py: Python<'_>, name: &str, value: &str) -> PyResult<u64> {
    quantities::days(name, value).map(|read| read.as_secs()).map_err(|error| config_error(py, &error))
}

/// Parses a size such as `100MB` into bytes.
#[pyfunction]
#[pyo3(text_signature = "(name, value)")]
pub(crate) fn parse_size_bytes(py: Python<'_>, name: &str, value: &str) -> PyResult<u64> {
    quantities::size(name, value).map_err(|error| config_error(py, &error))
}

/// Parses a positive integer.
#[pyfunction]
#[pyo3(text_signature = "(name, value)")]
pub(crate) fn parse_positive_integer(py: Python<'_>, name: &str, value: &str) -> PyResult<u64> {
    quantities::positive_integer(name, value).map_err(|error| config_error(py, &error))
}

/// Parses a word for how bodies run.
#[pyfunction(name = "parse_execution_mode")]
#[pyo3(text_signature = "(value)")]
pub(crate) fn parse_execution_mode_word(py: Python<'_>, value: &str) -> PyResult<&'static str> {
    settings::parse_execution_mode(value)
        .map(settings::ExecutionMode::as_str)
        .map_err(|error| config_error(py, &error))
}

/// Reads the settings of the Conductor server.
#[pyfunction]
#[pyo3(text_signature = "(env)")]
pub(crate) fn parse_conductor(py: Python<'_>, env: Variables) -> PyResult<Option<Bound<'_, PyDict>>> {
    let read = conductor::parse(&Environment::new(env)).map_err(|error| config_error(py, &error))?;
    conductor_values(py, read.as_ref())
}

/// Reads the settings of the lakeFS server.
#[pyfunction]
#[pyo3(text_signature = "(env)")]
pub(crate) fn parse_lakefs(py: Python<'_>, env: Variables) -> PyResult<Option<Bound<'_, PyDict>>> {
    let read = lakefs::parse(&Environment::new(env)).map_err(|error| config_error(py, &error))?;
    lakefs_values(py, read.as_ref())
}

/// Reads the settings of the metrics export.
#[pyfunction]
#[pyo3(text_signature = "(env)")]
pub(crate) fn parse_metrics(py: Python<'_>, env: Variables) -> PyResult<Option<Bound<'_, PyDict>>> {
    let read = metrics::parse(&Environment::new(env)).map_err(|error| config_error(py, &error))?;
    metrics_values(py, read.as_ref())
}

/// The variables of the child process of a slot.
#[pyfunction(name = "child_environment")]
#[pyo3(text_signature = "(base_env, module_target, index)")]
pub(crate) fn slot_environment(
    py: Python<'_>,
    base_env: Variables,
    module_target: &str,
    index: usize,
) -> PyResult<Variables> {
    roots::child_environment(&base_env, module_target, index).map_err(|error| config_error(py, &error))
}

/// The id of this worker process.
#[pyfunction]
#[pyo3(text_signature = "(module_target, env)")]
pub(crate) fn resolve_worker_id(module_target: &str, env: Variables) -> String {
    identity::worker_id(module_target, &Environment::new(env), std::process::id())
}

/// Makes a directory and proves that files can be written in it.
#[pyfunction]
#[pyo3(text_signature = "(path)")]
pub(crate) fn check_writable_root(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    py.detach(|| roots::check_writable(&path)).map_err(|error| config_error(py, &error))
}

/// The defaults, by the names that the configuration module gives them; durations in seconds.
#[pyfunction]
#[pyo3(text_signature = "()")]
pub(crate) fn settings_defaults(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let values = PyDict::new(py);
    values.set_item("workspace_root", roots::default_workspace_root())?;
    values.set_item("log_root", roots::default_log_root())?;
    values.set_item("log_file_max_size", settings::DEFAULT_LOG_FILE_MAX_SIZE)?;
    values.set_item("log_retention", settings::DEFAULT_LOG_RETENTION.as_secs())?;
    values.set_item("workspace_gc_ttl", settings::DEFAULT_WORKSPACE_GC_TTL.as_secs())?;
    values.set_item("workspace_gc_interval", settings::DEFAULT_WORKSPACE_GC_INTERVAL.as_secs())?;
    values.set_item("failure_reason_max_length", settings::DEFAULT_FAILURE_REASON_MAX_LENGTH)?;
    Ok(values)
}

fn conductor_values<'py>(
    py: Python<'py>,
    read: Option<&settings::ConductorSettings>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(read) = read else { return Ok(None) };
    let values = PyDict::new(py);
    values.set_item("server_url", &read.server_url)?;
    Ok(Some(values))
}

fn lakefs_values<'py>(
    py: Python<'py>,
    read: Option<&LakeFsSettings>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(read) = read else { return Ok(None) };
    let values = PyDict::new(py);
    values.set_item("endpoint_url", &read.endpoint_url)?;
    values.set_item("access_key_id", &read.access_key_id)?;
    values.set_item("secret_access_key", read.secret_access_key.expose())?;
    Ok(Some(values))
}

fn metrics_values<'py>(
    py: Python<'py>,
    read: Option<&MetricsSettings>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(read) = read else { return Ok(None) };
    let milliseconds = |duration: Option<Duration>| duration.map(|duration| duration.as_millis() as u64);
    let values = PyDict::new(py);
    values.set_item("endpoint", read.endpoint.expose())?;
    values.set_item("instance_id", read.instance_id.as_ref())?;
    values.set_item("compression", (read.compression == Some(Compression::Gzip)).then_some("gzip"))?;
    values.set_item("timeout_millis", milliseconds(read.timeout))?;
    values.set_item("export_interval_millis", milliseconds(read.export_interval))?;
    values.set_item("service_name", read.service_name.as_ref())?;
    let attributes: BTreeMap<_, _> = read.resource_attributes.iter().cloned().collect();
    values.set_item("resource_attributes", attributes)?;
    let headers = PyDict::new(py);
    for (name, value) in &read.headers {
        headers.set_item(name, value.expose())?;
    }
    values.set_item("headers", headers)?;
    Ok(Some(values))
}

/// The error as Python's `RuntimeConfigError`.
fn config_error(py: Python<'_>, error: &SettingsError) -> PyErr {
    let build = || {
        let arguments = PyDict::new(py);
        arguments.set_item("code", error.code())?;
        arguments.set_item("hint", error.hint())?;
        py.import("perago.errors")?
            .getattr("RuntimeConfigError")?
            .call((error.to_string(),), Some(&arguments))
    };
    build().map_or_else(|failure| failure, PyErr::from_value)
}
