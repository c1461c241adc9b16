//! Why a workspace operation failed.

use std::error::Error;

use perago_contract::FailureCode;

use crate::path::PathError;
use crate::store::StoreError;

/// A failed workspace operation: a code of the failure catalogue, what happened where, and advice.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct WorkspaceError {
    code: FailureCode,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl WorkspaceError {
    /// A failure of the class `code`, with a message that says what happened and where.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, source: None }
    }

    /// The same failure with advice of its own in place of the catalogue's.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// A local file operation that failed, with the path it was about. A full disk has a class of its own.
    pub fn local(action: &str, path: impl std::fmt::Display, error: std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                FailureCode::WorkspaceNoSpace
            }
            _ => FailureCode::Workspace,
        };
        Self::new(code, format!("cannot {action} {path}: {error}")).with_source(error)
    }

    /// A call of the store that failed.
    pub fn store(action: &str, error: StoreError) -> Self {
        Self::new(FailureCode::Workspace, format!("cannot {action}: {error}")).with_source(error)
    }

    /// A path that cannot go between directory and store.
    pub fn path(error: &PathError) -> Self {
        Self::new(FailureCode::WorkspacePath, error.to_string())
    }

    /// The class of the failure.
    pub fn code(&self) -> FailureCode {
        self.code
    }

    /// What an operator or author can do about it.
    pub fn hint(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| self.code.hint())
    }
}

impl From<PathError> for WorkspaceError {
    fn from(error: PathError) -> Self {
        Self::path(&error)
    }
}
