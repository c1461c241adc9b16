//! Bodies in the command line's own process, where a debugger can stop them.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use perago::interpreter::{Interpreter, InterpreterError, LocalAttempt};
use perago_contract::FailureCode;
use perago_worker::executor::message::{Ended, Failure, Outcome};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::value::RawValue;

/// The signals that Python takes over while it runs something of the author's.
const SIGNALS: [c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The Python that the command line was started with.
#[derive(Debug, Default)]
pub(crate) struct PythonInterpreter {
    /// The module that was loaded last, as `perago._in_process` holds it.
    session: Mutex<Option<Py<PyAny>>>,
}

impl Interpreter for PythonInterpreter {
    fn load(
        &self,
        module_target: &str,
        variables: &[(&str, &str)],
    ) -> Result<Box<RawValue>, InterpreterError> {
        let description: String = in_python(|py| {
            let environment = PyDict::new(py);
            for (name, value) in variables {
                environment.set_item(name, value)?;
            }
            let session =
                py.import("perago._in_process")?.getattr("Session")?.call1((module_target, environment))?;
            let description = session.getattr("description")?.extract()?;
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.unbind());
            Ok(description)
        })?;
        RawValue::from_string(description).map_err(|error| InterpreterError::Failed(error.to_string()))
    }

    fn run(&self, attempt: &LocalAttempt<'_>) -> Result<Ended, InterpreterError> {
        in_python(|py| {
            let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            let session = session.as_ref().map(|session| session.clone_ref(py));
            let session = session
                .ok_or_else(|| PyErr::new::<pyo3::exceptions::PyRuntimeError, _>("no module is loaded"))?;
            let params = PyBytes::new(py, attempt.params.as_bytes());
            let workspace: Option<PathBuf> = attempt.workspace.map(Into::into);
            let ended = session.call_method1(py, "run", (params, workspace, attempt.arena.to_owned()))?;
            let (content, code, seconds, exception): (Content, String, f64, Option<String>) =
                ended.extract(py)?;
            Ok(Ended { attempt: 1, outcome: content.outcome(code)?, body_seconds: seconds, exception })
        })
    }
}

/// The result as JSON, or the reason of a failure.
#[derive(FromPyObject)]
enum Content {
    Result(Vec<u8>),
    Reason(String),
}

impl Content {
    fn outcome(self, code: String) -> PyResult<Outcome> {
        match self {
            Self::Result(json) => {
                let raw = String::from_utf8(json).ok().and_then(|text| RawValue::from_string(text).ok());
                let invalid = || PyErr::new::<pyo3::exceptions::PyValueError, _>("the result is not JSON");
                raw.map(Outcome::Completed).ok_or_else(invalid)
            }
            Self::Reason(reason) => {
                let is_terminal = FailureCode::from_code(&code).is_some_and(FailureCode::is_terminal);
                let failure = Failure { code, reason };
                Ok(if is_terminal {
                    Outcome::FailedWithTerminalError(failure)
                } else {
                    Outcome::Failed(failure)
                })
            }
        }
    }
}

/// Runs something of the author's with Python's own handlers of the signals.
fn in_python<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T, InterpreterError> {
    let _handlers = Handlers::keep();
    Python::attach(|py| {
        work(py).map_err(|error| {
            if error.is_instance_of::<PyKeyboardInterrupt>(py) {
                InterpreterError::Stopped
            } else {
                InterpreterError::Failed(error.to_string())
            }
        })
    })
}

/// The handlers that this process had; in place again when this goes.
struct Handlers(Vec<(c_int, libc::sigaction)>);

impl Handlers {
    fn keep() -> Self {
        let kept = SIGNALS.iter().filter_map(|number| {
            let mut action = MaybeUninit::uninit();
            // SAFETY: asks for the action of a signal; it is written when the call succeeds.
            let is_known = unsafe { libc::sigaction(*number, std::ptr::null(), action.as_mut_ptr()) } == 0;
            // SAFETY: just written.
            is_known.then(|| (*number, unsafe { action.assume_init() }))
        });
        Self(kept.collect())
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for (number, action) in &self.0 {
            // SAFETY: the action is one that the system has handed out for this signal.
            unsafe {
                libc::sigaction(*number, action, std::ptr::null_mut());
            }
        }
    }
}
