//! How a body fails.

use std::error::Error;
use std::fmt;
use std::io;

use perago_contract::FailureCode;

/// Why a body failed. `?` turns any error into one that Conductor retries.
///
/// It is no [`std::error::Error`] itself, which is what lets `?` take every error, texts included.
///
/// ```
/// fn read(path: &str) -> Result<String, perago::TaskError> {
///     let text = std::fs::read_to_string(path)?;
///     if text.is_empty() {
///         return Err(perago::TaskError::terminal("the score is empty"));
///     }
///     Ok(text)
/// }
/// assert!(!read("/no/such/score").unwrap_err().is_terminal());
/// ```
pub struct TaskError {
    code: FailureCode,
    cause: Box<dyn Error + Send + Sync>,
}

impl TaskError {
    /// Refuses this attempt; Conductor retries it as the task's controls say.
    ///
    /// ```
    /// assert!(!perago::TaskError::failed("the model is busy").is_terminal());
    /// ```
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self { code: FailureCode::TaskFailed, cause: reason.to_string().into() }
    }

    /// Refuses this input for good: Conductor does not retry.
    ///
    /// ```
    /// assert!(perago::TaskError::terminal("the score is empty").is_terminal());
    /// ```
    pub fn terminal(reason: impl fmt::Display) -> Self {
        Self { code: FailureCode::TaskTerminal, cause: reason.to_string().into() }
    }

    /// Whether Conductor is told not to retry.
    pub fn is_terminal(&self) -> bool {
        self.code.is_terminal()
    }

    /// The code of the failure catalogue.
    pub(crate) fn code(&self) -> FailureCode {
        self.code
    }

    /// What Conductor shows: the error and its causes, none of them twice.
    ///
    /// ```
    /// assert_eq!(perago::TaskError::from("no such song").reason(), "no such song");
    /// ```
    pub fn reason(&self) -> String {
        let mut reason = self.cause.to_string();
        let mut next = cause_of(&*self.cause);
        while let Some(error) = next {
            let text = error.to_string();
            if !reason.contains(&text) {
                reason = if reason.is_empty() { text } else { format!("{reason}: {text}") };
            }
            next = cause_of(error);
        }
        if reason.is_empty() { "the body failed without a reason".to_owned() } else { reason }
    }

    /// Everything that the error says of itself, for the worker's log.
    pub(crate) fn details(&self) -> String {
        format!("{:?}", self.cause)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TaskError").field("code", &self.code).field("cause", &self.cause).finish()
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason())
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for TaskError {
    fn from(error: E) -> Self {
        let cause = error.into();
        let code = if is_terminal(&*cause) { FailureCode::TaskTerminal } else { FailureCode::BodyRaised };
        Self { code, cause }
    }
}

/// Whether a [`TerminalError`] is the error or one of its causes.
fn is_terminal(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<TerminalError>() {
            return true;
        }
        next = cause_of(error);
    }
    false
}

/// What caused an error. The error inside of an `io::Error` speaks for it, so its own `source` leaves that out.
fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// An error that ends retries wherever it is the cause of what a body returns: for error types of an author's own.
///
/// ```
/// let error = std::io::Error::other(perago::TerminalError::new("no such song"));
/// assert!(perago::TaskError::from(error).is_terminal());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminalError(String);

impl TerminalError {
    /// An error with this reason.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl fmt::Display for TerminalError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for TerminalError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the song cannot be read")]
    struct Outer(#[source] io::Error);

    #[test]
    fn any_error_is_retried_and_names_its_causes_once() {
        let error = TaskError::from(Outer(io::Error::other("disk is gone")));
        assert_eq!((error.is_terminal(), error.code()), (false, FailureCode::BodyRaised));
        assert_eq!(error.reason(), "the song cannot be read: disk is gone");
        assert_eq!(TaskError::from("plain").reason(), "plain");
        assert_eq!(TaskError::from(String::new()).reason(), "the body failed without a reason");
    }

    #[test]
    fn a_terminal_cause_ends_retries() {
        assert!(TaskError::from(Outer(io::Error::other(TerminalError::new("no song")))).is_terminal());
        assert_eq!(TaskError::terminal("never").code(), FailureCode::TaskTerminal);
        assert_eq!(TaskError::failed("later").code(), FailureCode::TaskFailed);
    }
}
