//! What a command that fails prints, and the exit code it leaves with.

use perago_contract::{ContractError, Finding};
use perago_worker::operator::PauseError;
use perago_worker::settings::SettingsError;
use perago_worker::state_directory::StateError;
use perago_worker::worker_error::WorkerError;

use crate::ExitStatus;
use crate::printer::Printer;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    lines: Vec<Line>,
    status: ExitStatus,
}

#[derive(Debug)]
struct Line {
    text: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with one message.
    pub fn new(text: impl Into<String>) -> Self {
        Self::with_hint(text, None)
    }

    /// A failure with one message and advice.
    pub fn with_hint(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { lines: vec![Line { text: text.into(), hint }], status: ExitStatus::Failure }
    }

    /// A failure with several findings; warnings among them are left to the caller.
    pub fn of_findings(findings: &[Finding]) -> Self {
        let lines = findings
            .iter()
            .filter(|finding| finding.is_error())
            .map(|finding| Line { text: placed(finding), hint: finding.hint.clone() })
            .collect();
        Self { lines, status: ExitStatus::Failure }
    }

    /// The same failure with another exit code.
    #[must_use]
    pub fn with_status(mut self, status: ExitStatus) -> Self {
        self.status = status;
        self
    }

    /// The same failure with further advice after its last message.
    #[must_use]
    pub fn with_last_hint(mut self, advice: String) -> Self {
        if let Some(line) = self.lines.last_mut() {
            line.hint = Some(match line.hint.take() {
                Some(hint) => format!("{hint}\n  hint: {advice}"),
                None => advice,
            });
        }
        self
    }

    /// The first message as a finding, for a report that goes on.
    pub fn into_finding(self) -> Finding {
        let code =
            if self.status == ExitStatus::Internal { "PERAGO-INTERNAL" } else { "PERAGO-MODULE-ENDED" };
        match self.lines.into_iter().next() {
            Some(Line { text, hint: Some(hint) }) => Finding::error(code, text).with_hint(hint),
            Some(Line { text, hint: None }) => Finding::error(code, text),
            None => Finding::error(code, "failed"),
        }
    }

    /// Prints every message and returns the exit code.
    pub fn print(&self, printer: &Printer) -> ExitStatus {
        for line in &self.lines {
            printer.error(&line.text, line.hint.as_deref());
        }
        self.status
    }
}

/// A finding with the author's file and line behind it.
pub(crate) fn placed(finding: &Finding) -> String {
    match (&finding.file, finding.line) {
        (Some(file), Some(line)) => format!("{}\n  --> {file}:{line}", finding.message),
        (Some(file), None) => format!("{}\n  --> {file}", finding.message),
        _ => finding.message.clone(),
    }
}

impl From<ContractError> for Failure {
    fn from(error: ContractError) -> Self {
        Self::of_findings(&[error.into_finding()])
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::with_hint(error.to_string(), error.hint().map(str::to_owned))
    }
}

impl From<PauseError> for Failure {
    fn from(error: PauseError) -> Self {
        Self::with_hint(error.to_string(), Some(error.hint().to_owned()))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::with_hint(error.to_string(), Some(error.hint().to_owned()))
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        let status = if error.is_ours() { ExitStatus::Internal } else { ExitStatus::Failure };
        match error {
            WorkerError::Module(findings) => Self::of_findings(&findings),
            other => Self::with_hint(other.to_string(), other.hint()),
        }
        .with_status(status)
    }
}
