//! One attempt in the process of the command line: `run --in-process`.

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, PoisonError};

use perago_contract::TaskDescription;
use perago_worker::executor::message::Ended;
use serde_json::value::RawValue;

use super::body::{Input, Runnable};
use super::executor::{open_recorder, unusable};
use super::log::BodyLog;
use super::registered::{self, Registered};
use super::{Metrics, attempts, panics};
use crate::interpreter::{Interpreter, InterpreterError, LocalAttempt};

/// Signals that end this process while it runs something of the author's.
const STOPPING: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Runs bodies of this binary's tasks where they are.
pub(super) struct InProcess {
    tasks: Vec<Registered>,
    loaded: Mutex<Option<(TaskDescription, Arc<dyn Runnable>)>>,
}

impl InProcess {
    /// The tasks of this binary.
    pub(super) fn new(tasks: Vec<Registered>) -> Self {
        Self { tasks, loaded: Mutex::default() }
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("InProcess").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

impl Interpreter for InProcess {
    fn load(
        &self,
        module_target: &str,
        variables: &[(&str, &str)],
    ) -> Result<Box<RawValue>, InterpreterError> {
        let failed = |error: serde_json::Error| InterpreterError::Failed(error.to_string());
        let _usual = UsualSignals::set();
        for (name, value) in variables {
            // SAFETY: the command line calls this from its main thread, and has no other yet that reads variables.
            unsafe { std::env::set_var(name, value) };
        }
        let task = self.tasks.iter().find(|task| task.name == module_target);
        let task =
            task.ok_or_else(|| InterpreterError::Failed(format!("this binary has no task {module_target}")))?;
        BodyLog::StandardError.install();
        panics::install();
        let description = task.describe();
        let opened = match registered::constraints(&description) {
            Ok(constraints) => task.open(1, constraints),
            Err(finding) => return registered::refusal(&finding).map_err(failed),
        };
        match opened {
            Ok(runnable) => {
                let raw = registered::description(&description).map_err(failed)?;
                *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some((description, runnable));
                Ok(raw)
            }
            Err(error) => registered::refusal(&unusable(&description, &error.reason())).map_err(failed),
        }
    }

    fn run(&self, attempt: &LocalAttempt<'_>) -> Result<Ended, InterpreterError> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (task, runnable) =
            loaded.ok_or_else(|| InterpreterError::Failed("no task is loaded".to_owned()))?;
        let recorder = open_recorder(attempt.arena, &task, &[], &BodyLog::StandardError)
            .map_err(|error| InterpreterError::Failed(error.to_string()))?;
        let _usual = UsualSignals::set();
        Ok(runnable.run(Input {
            running: attempts::expect(1),
            params: attempt.params,
            workspace: attempt.workspace.map(Into::into),
            metrics: Metrics::new(recorder),
        }))
    }
}

/// The signals do what they usually do for as long as this lives: nobody of ours listens meanwhile.
struct UsualSignals(Vec<(libc::c_int, libc::sigaction)>);

impl UsualSignals {
    fn set() -> Self {
        let kept = STOPPING.iter().filter_map(|number| {
            let mut before = MaybeUninit::uninit();
            // SAFETY: an action of zeroes is the default one; the earlier one is written when the call succeeds.
            unsafe {
                let usual: libc::sigaction = std::mem::zeroed();
                let is_set = libc::sigaction(*number, &raw const usual, before.as_mut_ptr()) == 0;
                is_set.then(|| (*number, before.assume_init()))
            }
        });
        Self(kept.collect())
    }
}

impl Drop for UsualSignals {
    fn drop(&mut self) {
        for (number, action) in &self.0 {
            // SAFETY: the action is one that the system has handed out for this signal.
            unsafe {
                libc::sigaction(*number, action, std::ptr::null_mut());
            }
        }
    }
}
