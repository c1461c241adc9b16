//! The interpreter that the command line lives in: it can run a body where a debugger stops it.

use std::fmt::Debug;
use std::path::Path;

use perago_worker::executor::message::Ended;
use serde_json::value::RawValue;

/// One attempt in the process of the command line.
#[derive(Debug, Clone, Copy)]
pub struct LocalAttempt<'a> {
    /// The parameters as JSON.
    pub params: &'a str,
    /// The directory of a workspace task.
    pub workspace: Option<&'a Path>,
    /// The file that samples of a task with metrics go to.
    pub arena: &'a Path,
}

/// Why the interpreter has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterpreterError {
    /// A signal, or the user in the debugger, ended what ran.
    Stopped,
    /// The interpreter failed; its own words.
    Failed(String),
}

/// What an authoring language runs in this process. Called from the main thread, with no runtime of ours entered.
pub trait Interpreter: Debug + Send + Sync {
    /// Imports a module and describes it as an executor does, with `variables` in its environment.
    ///
    /// # Errors
    /// A module that cannot be used is no error: its description says why.
    fn load(
        &self,
        module_target: &str,
        variables: &[(&str, &str)],
    ) -> Result<Box<RawValue>, InterpreterError>;

    /// Runs the body of the module that was loaded last.
    ///
    /// # Errors
    /// A body that fails is no error.
    fn run(&self, attempt: &LocalAttempt<'_>) -> Result<Ended, InterpreterError>;
}
