//! A violated rule of the contract.

use std::borrow::Cow;

use crate::finding::{Finding, Severity};

/// One violated rule: a stable code, the message an author reads, and advice where there is any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ContractError {
    code: &'static str,
    message: String,
    hint: Option<Cow<'static, str>>,
}

impl ContractError {
    /// An error of the rule `code` with the author-facing `message`.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same error with advice on how to mend it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The stable code, for example `PERAGO-TASK-NAME`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The author-facing message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Advice on how to mend it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The same error as a finding without a place.
    pub fn into_finding(self) -> Finding {
        Finding {
            code: Cow::Borrowed(self.code),
            severity: Severity::Error,
            message: self.message,
            hint: self.hint.map(Cow::into_owned),
            file: None,
            line: None,
        }
    }
}
