//! The interpreter that the command line lives in: it can run a body where a debugger stops it.

use std::fmt::Debug;
use std::path::Path;

use perago_worker::executor::message::Ended;
use serde_json::value::RawValue;

/// One attempt in the process of the command line.
///
/// ```
/// let attempt = perago::interpreter::LocalAttempt {
///     params: r#"{"text": "la la"}"#,
///     workspace: None,
///     arena: std::path::Path::new("metrics/slot-0001"),
/// };
/// assert!(attempt.workspace.is_none());
/// ```
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
///
/// ```
/// let error = perago::interpreter::InterpreterError::Failed("no module named songs".to_owned());
/// assert_ne!(error, perago::interpreter::InterpreterError::Stopped);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterpreterError {
    /// A signal, or the user in the debugger, ended what ran.
    Stopped,
    /// The interpreter failed; its own words.
    Failed(String),
}

/// What an authoring language runs in this process. Called from the main thread, with no runtime of ours entered.
///
/// ```
/// use perago::interpreter::{Interpreter, InterpreterError, LocalAttempt};
/// use perago_worker::executor::message::{Ended, Outcome};
/// use serde_json::value::RawValue;
///
/// /// Knows one task, which returns its parameters.
/// #[derive(Debug)]
/// struct Echoing;
///
/// impl Interpreter for Echoing {
///     fn load(&self, _: &str, _: &[(&str, &str)]) -> Result<Box<RawValue>, InterpreterError> {
///         let described = r#"{"task": null, "findings": [], "warnings": []}"#;
///         RawValue::from_string(described.to_owned()).map_err(|error| InterpreterError::Failed(error.to_string()))
///     }
///
///     fn run(&self, attempt: &LocalAttempt<'_>) -> Result<Ended, InterpreterError> {
///         let result = RawValue::from_string(attempt.params.to_owned())
///             .map_err(|error| InterpreterError::Failed(error.to_string()))?;
///         Ok(Ended { attempt: 1, outcome: Outcome::Completed(result), body_seconds: 0.0, exception: None })
///     }
/// }
///
/// let arena = std::path::Path::new("unused");
/// let ended = Echoing.run(&LocalAttempt { params: "{}", workspace: None, arena }).unwrap();
/// assert!(matches!(ended.outcome, Outcome::Completed(result) if result.get() == "{}"));
/// ```
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
