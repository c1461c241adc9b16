//! What a check reports.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The task cannot run.
    Error,
    /// The task runs, but something in its declaration has no or another effect than its author may expect.
    Warning,
}

/// One thing a check found, with the author's file and line where they are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code, for example `PERAGO-TASK-NAME`.
    pub code: Cow<'static, str>,
    /// Whether the task can run all the same.
    pub severity: Severity,
    /// What is wrong, in one line unless the source of the message has more.
    pub message: String,
    /// How to mend it.
    #[serde(default)]
    pub hint: Option<String>,
    /// Path of the author's file.
    #[serde(default)]
    pub file: Option<String>,
    /// Line in that file, counted from 1.
    #[serde(default)]
    pub line: Option<u32>,
}

impl Finding {
    /// An error without a place.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message)
    }

    /// A warning without a place.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message)
    }

    fn new(code: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code: Cow::Borrowed(code),
            severity,
            message: message.into(),
            hint: None,
            file: None,
            line: None,
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the task cannot run because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
