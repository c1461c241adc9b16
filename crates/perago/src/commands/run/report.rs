//! What is said of an attempt: lines for people, or one JSON object.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use perago_contract::{FailureCode, Finding};
use perago_worker::executor::message::Failure;
use perago_workspace::WorkspaceError;
use serde::Serialize;
use serde_json::value::RawValue;

use super::metrics::Series;
use super::workspace::{Change, WorkspaceReport};
use crate::ExitStatus;
use crate::printer::Printer;

/// More files of one kind are counted and not listed.
const MOST_LISTED: usize = 100;

/// How an attempt ended.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The task's name, if the module declares a usable one.
    pub task: Option<String>,
    /// Its status as Conductor would show it, or that it was not run.
    pub status: Status,
    /// Why it did not complete.
    pub failure: Option<FailureReport>,
    /// What a check finds in the module.
    pub findings: Vec<Finding>,
    /// What the body returned.
    pub result: Option<Box<RawValue>>,
    /// Seconds that the body took.
    pub body_seconds: Option<f64>,
    /// The directory of a workspace task.
    pub workspace: Option<WorkspaceReport>,
    /// What was recorded.
    pub metrics: Vec<Series>,
}

/// Status of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    /// The module cannot be used.
    NotRun,
    /// The body returned, and the workspace is as it should be.
    Completed,
    /// Conductor would have it repeated.
    Failed,
    /// Conductor would not.
    FailedWithTerminalError,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Self::NotRun => "NOT_RUN",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::FailedWithTerminalError => "FAILED_WITH_TERMINAL_ERROR",
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FailureReport {
    /// Its code.
    pub code: String,
    /// What happened.
    pub reason: String,
    /// What can be done about it.
    pub hint: Option<String>,
    /// The exception with the author's part of the traceback.
    pub exception: Option<String>,
}

impl Report {
    /// The report of a module that cannot be used.
    pub fn not_run(findings: Vec<Finding>) -> Self {
        Self { findings, ..Self::of_task(None) }
    }

    /// The report of an attempt that has not failed so far.
    pub fn of_task(task: Option<&str>) -> Self {
        Self {
            task: task.map(str::to_owned),
            status: if task.is_some() { Status::Completed } else { Status::NotRun },
            failure: None,
            findings: Vec::new(),
            result: None,
            body_seconds: None,
            workspace: None,
            metrics: Vec::new(),
        }
    }

    /// The body has failed, or its process; of several failures the first counts.
    pub fn fail(&mut self, failure: Failure, exception: Option<String>) {
        let hint = FailureCode::from_code(&failure.code).and_then(hint_of).map(str::to_owned);
        self.fail_with(failure, hint, exception);
    }

    fn fail_with(&mut self, failure: Failure, hint: Option<String>, exception: Option<String>) {
        if self.failure.is_some() {
            return;
        }
        let is_terminal = FailureCode::from_code(&failure.code).is_some_and(FailureCode::is_terminal);
        self.status = if is_terminal { Status::FailedWithTerminalError } else { Status::Failed };
        self.result = None;
        self.failure = Some(FailureReport { code: failure.code, reason: failure.reason, hint, exception });
    }

    /// The attempt has failed because of its workspace.
    pub fn fail_by_workspace(&mut self, error: &WorkspaceError) {
        let failure = Failure { code: error.code().code().to_owned(), reason: error.to_string() };
        self.fail_with(failure, Some(error.hint().to_owned()), None);
    }

    /// Prints one JSON object.
    pub fn print_json(&self, printer: &Printer) -> ExitStatus {
        printer.output(&serde_json::to_string(self).unwrap_or_default());
        self.exit_status()
    }

    /// Prints lines: the failure to standard error, the rest to standard output.
    pub fn print_text(&self, printer: &Printer) -> ExitStatus {
        if let Some(failure) = &self.failure {
            let mut text = format!("{}: {}", failure.code, failure.reason);
            if let Some(exception) = &failure.exception {
                text = format!("{text}\n{}", exception.trim_end());
            }
            printer.error(&text, failure.hint.as_deref());
        }
        printer.output(self.text().trim_end());
        self.exit_status()
    }

    fn exit_status(&self) -> ExitStatus {
        if self.status == Status::Completed { ExitStatus::Success } else { ExitStatus::Failure }
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {}", self.task.as_deref().unwrap_or_default(), self.status.text());
        if let Some(seconds) = self.body_seconds {
            let _ = write!(text, ", the body took {seconds:.3} s");
        }
        text.push('\n');
        if let Some(result) = &self.result {
            let pretty = serde_json::from_str::<serde_json::Value>(result.get())
                .and_then(|value| serde_json::to_string_pretty(&value));
            let _ = writeln!(text, "result: {}", pretty.unwrap_or_else(|_| result.get().to_owned()));
        }
        if let Some(workspace) = &self.workspace {
            text.push_str(&workspace_text(workspace));
        }
        if !self.metrics.is_empty() {
            text.push_str("metrics:\n");
            for series in &self.metrics {
                let _ = writeln!(text, "  {}", series.line());
            }
        }
        text
    }
}

/// What an author can do about a failure of the body; nothing where the exception says it all.
fn hint_of(code: FailureCode) -> Option<&'static str> {
    match code {
        FailureCode::BodyRaised => None,
        FailureCode::ParamsInvalid | FailureCode::InputInvalid => {
            Some("perago check with --format json shows the schema of the parameters")
        }
        FailureCode::ExecutorExited => Some("the body, or a library that it uses, ended the process"),
        other => Some(other.hint()),
    }
}

fn workspace_text(workspace: &WorkspaceReport) -> String {
    let place = workspace.directory.display();
    let mut text = match &workspace.download {
        Some(download) if workspace.kept => {
            format!("workspace: {} at {}, kept in {place}\n", download.repository, download.commit)
        }
        Some(download) => format!("workspace: {} at {}\n", download.repository, download.commit),
        None => format!("workspace: {place}\n"),
    };
    let Some(changes) = &workspace.changes else { return text };
    if changes.is_empty() {
        text.push_str("  nothing changed\n");
        return text;
    }
    for (mark, list) in
        [("added", &changes.added), ("changed", &changes.changed), ("removed", &changes.removed)]
    {
        for change in list.iter().take(MOST_LISTED) {
            let _ = writeln!(text, "  {mark} {}", change_text(change));
        }
        if list.len() > MOST_LISTED {
            let _ = writeln!(text, "  {mark} {} more", list.len() - MOST_LISTED);
        }
    }
    if workspace.read_only {
        text.push_str("  a worker publishes none of this: the task is read-only\n");
    }
    text
}

fn change_text(change: &Change) -> String {
    match (change.bytes, change.bytes_before) {
        (Some(now), Some(before)) if now != before => {
            format!("{} ({}, was {})", change.path, HumanBytes(now), HumanBytes(before))
        }
        (Some(bytes), _) | (None, Some(bytes)) => format!("{} ({})", change.path, HumanBytes(bytes)),
        (None, None) => change.path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::workspace::Changes;
    use super::*;

    fn change(path: &str, bytes: Option<u64>, bytes_before: Option<u64>) -> Change {
        Change { path: path.into(), bytes, bytes_before }
    }

    #[test]
    fn the_first_failure_counts() {
        let mut report = Report::of_task(Some("t"));
        report.result = RawValue::from_string("1".into()).ok();
        let failure = |code: &str| Failure { code: code.into(), reason: "why".into() };
        report.fail(failure("pre_guardrail"), None);
        report.fail(failure("body_raised"), None);
        assert_eq!(report.status, Status::FailedWithTerminalError);
        assert_eq!(report.failure.as_ref().map(|failure| failure.code.as_str()), Some("pre_guardrail"));
        assert!(report.result.is_none());
        assert_eq!(report.exit_status(), ExitStatus::Failure);
    }

    #[test]
    fn changes_are_listed_up_to_a_number() {
        let added = (0..102).map(|number| change(&format!("f{number}"), Some(2048), None)).collect();
        let workspace = WorkspaceReport {
            directory: "/w".into(),
            kept: true,
            read_only: false,
            download: None,
            changes: Some(Changes {
                added,
                changed: vec![change("c", Some(1), Some(2)), change("d", Some(1), Some(1))],
                removed: vec![change("r", None, Some(3))],
            }),
        };
        let text = workspace_text(&workspace);
        assert!(text.starts_with("workspace: /w\n  added f0 (2.00 KiB)\n"), "{text}");
        let end = "  added 2 more\n  changed c (1 B, was 2 B)\n  changed d (1 B)\n  removed r (3 B)\n";
        assert!(text.ends_with(end), "{text}");
    }
}
