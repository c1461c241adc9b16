//! A setting that cannot be used.

use std::path::PathBuf;

use perago_contract::Finding;

/// Why the settings cannot be used. The message names the variable and never repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SettingsError {
    code: &'static str,
    message: String,
    hint: Option<String>,
    file: Option<PathBuf>,
    line: Option<u32>,
}

impl SettingsError {
    /// A value breaks the rule of its variable.
    pub(crate) fn value(name: &str, rule: &str) -> Self {
        Self::new("PERAGO-CONFIG-VALUE", format!("{name} {rule}"))
    }

    /// A variable is missing beside others that need it.
    pub(crate) fn missing(message: String) -> Self {
        Self::new("PERAGO-CONFIG-MISSING", message)
    }

    /// A variable is refused because its feature does not exist.
    pub(crate) fn unsupported(message: String) -> Self {
        Self::new("PERAGO-CONFIG-UNSUPPORTED", message)
    }

    /// A directory cannot be used.
    pub(crate) fn directory(message: String) -> Self {
        Self::new("PERAGO-CONFIG-DIRECTORY", message)
    }

    /// A `.env` file cannot be read.
    pub(crate) fn dotenv(message: String, file: PathBuf, line: Option<u32>) -> Self {
        Self { file: Some(file), line, ..Self::new("PERAGO-CONFIG-DOTENV", message) }
    }

    fn new(code: &'static str, message: String) -> Self {
        Self { code, message, hint: None, file: None, line: None }
    }

    /// The same error with advice.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The stable code of this class of error.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// How to mend it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The same error as one entry of a check's report.
    pub fn finding(&self) -> Finding {
        let mut finding = Finding::error(self.code, self.message.clone());
        finding.hint.clone_from(&self.hint);
        finding.file = self.file.as_ref().map(|file| file.display().to_string());
        finding.line = self.line;
        finding
    }
}

/// Gathers errors, so that one run reports all of them.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<SettingsError>);

impl Errors {
    /// The value, or `fallback` after noting the error. Settings with a noted error are never handed out.
    pub(crate) fn keep<T>(&mut self, result: Result<T, SettingsError>, fallback: T) -> T {
        result.unwrap_or_else(|error| {
            self.0.push(error);
            fallback
        })
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Vec<SettingsError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}
