//! The executor's channel as Python sees it.

use std::path::PathBuf;
use std::sync::Arc;

use perago_worker::executor::channel::ExecutorChannel;
use perago_worker::executor::launch::{LAUNCH_VARIABLE, LaunchOptions};
use perago_worker::executor::message::{
    Assignment, Ended, Failure, FromExecutor, LogLine, Outcome, ToExecutor,
};
use perago_worker::guardian::CANCEL_SIGNAL;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::value::RawValue;

/// The executor's end of its channel to the supervisor.
#[pyclass(module = "perago._native", frozen)]
pub struct Channel {
    inner: Arc<ExecutorChannel>,
    launch: LaunchOptions,
}

/// One attempt that the executor must run.
#[pyclass(module = "perago._native", frozen)]
pub struct AttemptAssignment {
    inner: Assignment,
}

#[pymethods]
impl Channel {
    /// Opens the channel that the supervisor named in the environment.
    #[new]
    fn new() -> PyResult<Self> {
        let text = std::env::var(LAUNCH_VARIABLE)
            .map_err(|_| PyOSError::new_err("this process was not started as an executor"))?;
        let launch: LaunchOptions =
            serde_json::from_str(&text).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { inner: Arc::new(ExecutorChannel::from_environment(launch.results.clone())?), launch })
    }

    /// The author's module.
    #[getter]
    fn module_target(&self) -> &str {
        &self.launch.module_target
    }

    /// Whether to describe the module and exit.
    #[getter]
    fn describe_only(&self) -> bool {
        self.launch.describe_only
    }

    /// Bodies that run at once in this process.
    #[getter]
    fn threads(&self) -> u32 {
        self.launch.threads
    }

    /// The arena file that samples go to, if metrics are exported.
    #[getter]
    fn arena(&self) -> Option<&str> {
        self.launch.arena.as_deref()
    }

    /// Label keys that the exporter's resource attributes occupy.
    #[getter]
    fn resource_attribute_keys(&self) -> Vec<String> {
        self.launch.resource_attribute_keys.clone()
    }

    /// Failure reasons are cut to this many characters.
    #[getter]
    fn failure_reason_max_length(&self) -> u64 {
        self.launch.failure_reason_max_length
    }

    /// Says that the module is imported and bodies can be run.
    fn ready(&self, py: Python<'_>, description: &str) -> PyResult<()> {
        self.send(py, &FromExecutor::Ready(raw(description)?))
    }

    /// Says that the module cannot be used.
    fn unready(&self, py: Python<'_>, description: &str) -> PyResult<()> {
        self.send(py, &FromExecutor::Unready(raw(description)?))
    }

    /// Waits for the next attempt; `None` when the supervisor wants no more or is gone.
    fn receive(&self, py: Python<'_>) -> PyResult<Option<AttemptAssignment>> {
        loop {
            match py.detach(|| self.inner.receive())? {
                Some(ToExecutor::Assign(assignment)) => {
                    return Ok(Some(AttemptAssignment { inner: *assignment }));
                }
                // Its body has ended before it could be stopped.
                Some(ToExecutor::Cancel(_)) => {}
                Some(ToExecutor::Stop) | None => return Ok(None),
            }
        }
    }

    /// The last attempt whose body the supervisor has told to stop, if that is news; does not wait.
    fn cancelled(&self) -> PyResult<Option<u64>> {
        Ok(self.inner.cancelled()?.pop())
    }

    /// The signal that says that there is news of that kind.
    #[classattr]
    const CANCEL_SIGNAL: i32 = CANCEL_SIGNAL as i32;

    /// Reports what the body returned, as JSON.
    fn completed(&self, py: Python<'_>, attempt: u64, result: &[u8], body_seconds: f64) -> PyResult<()> {
        let text = std::str::from_utf8(result).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let outcome = Outcome::Completed(raw(text)?);
        self.send(
            py,
            &FromExecutor::Ended(Box::new(Ended { attempt, outcome, body_seconds, exception: None })),
        )
    }

    /// Reports that an attempt failed.
    #[expect(clippy::too_many_arguments, reason = "one call from Python with one argument a field")]
    fn failed(
        &self,
        py: Python<'_>,
        attempt: u64,
        terminal: bool,
        code: String,
        reason: String,
        body_seconds: f64,
        exception: Option<String>,
    ) -> PyResult<()> {
        let failure = Failure { code, reason };
        let outcome =
            if terminal { Outcome::FailedWithTerminalError(failure) } else { Outcome::Failed(failure) };
        self.send(py, &FromExecutor::Ended(Box::new(Ended { attempt, outcome, body_seconds, exception })))
    }

    /// Sends one line of the log. `fields` is a JSON object with structured fields.
    #[pyo3(signature = (attempt, level, source, message, time, exception=None, fields=None))]
    #[expect(clippy::too_many_arguments, reason = "one call from Python with one argument a field")]
    fn log(
        &self,
        py: Python<'_>,
        attempt: Option<u64>,
        level: String,
        source: String,
        message: String,
        time: f64,
        exception: Option<String>,
        fields: Option<&str>,
    ) -> PyResult<()> {
        let fields = fields.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let line = LogLine { attempt, level, source, message, time, exception, fields };
        self.send(py, &FromExecutor::Log(Box::new(line)))
    }
}

impl Channel {
    fn send(&self, py: Python<'_>, message: &FromExecutor) -> PyResult<()> {
        Ok(py.detach(|| self.inner.send(message))?)
    }
}

#[pymethods]
impl AttemptAssignment {
    /// The supervisor's number of this attempt.
    #[getter]
    fn attempt(&self) -> u64 {
        self.inner.attempt
    }

    /// The slot that it runs in, from 1.
    #[getter]
    fn slot(&self) -> u32 {
        self.inner.slot
    }

    /// Conductor's workflow instance id.
    #[getter]
    fn workflow_instance_id(&self) -> &str {
        &self.inner.workflow_id
    }

    /// Conductor's task id.
    #[getter]
    fn task_id(&self) -> &str {
        &self.inner.task_id
    }

    /// Conductor's retry count, from 0.
    #[getter]
    fn retry_count(&self) -> u32 {
        self.inner.retry_count
    }

    /// The directory of a workspace task.
    #[getter]
    fn workspace(&self) -> Option<PathBuf> {
        self.inner.workspace.clone()
    }

    /// The task's parameters as JSON.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.params.get().as_bytes())
    }
}

fn raw(text: &str) -> PyResult<Box<RawValue>> {
    serde_json::from_str(text).map_err(|error| PyValueError::new_err(format!("not JSON: {error}")))
}
