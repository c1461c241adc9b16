//! Failures of the engine, in the shape and with the status codes of the Conductor server.

use std::fmt::Display;

use serde::Serialize;

/// One violated rule of a definition, as the server's bean validation reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Where: method, argument and field.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The offending value as text, absent for rules over a whole object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_value: Option<String>,
}

impl Violation {
    /// A rule over one field with its value.
    pub fn of_field(path: impl Into<String>, message: impl Into<String>, value: impl Display) -> Self {
        Self { path: path.into(), message: message.into(), invalid_value: Some(value.to_string()) }
    }

    /// A rule over a whole object, or over a field that is absent.
    pub fn of_object(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), invalid_value: None }
    }
}

/// A refused request: HTTP status, text, and the violated rules if it was a validation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// HTTP status code that the real server answers.
    pub status: u16,
    /// Text of the failure.
    pub message: String,
    /// Violated rules; empty unless this is a validation failure.
    pub violations: Vec<Violation>,
}

impl EngineError {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), violations: Vec::new() }
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// 404 of an unknown workflow run.
    pub fn no_workflow(id: &str) -> Self {
        Self::not_found(format!("No such workflow found by id: {id}"))
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, message)
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 500, which the real server uses for what the client did wrong as well.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, message)
    }

    /// 501: the embedded engine does not do this; it never pretends to.
    pub fn unsupported(what: impl AsRef<str>) -> Self {
        Self::new(501, format!("The embedded engine does not support {}", what.as_ref()))
    }

    /// 400 with the violated rules, or success where there are none.
    pub fn of_violations(violations: Vec<Violation>) -> Result<(), Self> {
        if violations.is_empty() {
            return Ok(());
        }
        let message = "Validation failed, check below errors for detail.".to_owned();
        Err(Self { status: 400, message, violations })
    }
}
