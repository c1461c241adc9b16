//! `perago status`: what the worker of a workspace root owes its server.

use std::time::Duration;

use perago_worker::operator::PauseMarker;
use perago_worker::outbox::{self, Entry, Journal};
use perago_worker::state_directory::{StateDirectory, Supervisor};
use serde_json::{Value, json};

use super::settings_without_module;
use crate::ExitStatus;
use crate::arguments::StatusOptions;
use crate::failure::Failure;
use crate::printer::Printer;

/// Prints every open attempt and every result that is kept. Success means that nothing is undelivered: any version
/// may go on from here.
pub(crate) fn run(options: &StatusOptions, printer: &Printer) -> Result<ExitStatus, Failure> {
    let settings = settings_without_module()?;
    let supervisor = StateDirectory::supervisor_of(&settings.state_dir);
    let (entries, damaged) = Journal::read(&settings.state_dir)
        .map_err(|error| Failure::with_hint(error.to_string(), Some(error.hint().to_owned())))?;
    let paused_for = PauseMarker::of(&settings.state_dir).age()?;
    let now = outbox::now();
    let shown: Vec<Shown<'_>> = entries.values().map(|entry| Shown::new(entry, now, supervisor)).collect();
    let undelivered = shown.iter().filter(|one| one.state != State::Kept).count();
    if options.json {
        let document = json!({
            "state_directory": settings.state_dir.display().to_string(),
            "supervisor_pid": supervisor.and_then(|supervisor| supervisor.pid),
            "paused": paused_for.is_some(),
            "paused_seconds": paused_for.map(|age| age.as_secs_f64()),
            "undelivered": undelivered,
            "damaged_records": damaged,
            "entries": shown.iter().map(Shown::as_json).collect::<Vec<_>>(),
        });
        printer.output(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        if let Some(age) = paused_for {
            printer.output(&format!("paused for {}; perago resume ends it", age_text(age)));
        }
        for one in &shown {
            printer.output(&one.line());
        }
        if supervisor.is_none() && undelivered > 0 {
            printer
                .output("no worker runs; the next one on this state directory settles what is undelivered");
        }
        let kept = shown.len() - undelivered;
        printer
            .output(&format!("{undelivered} undelivered, {kept} kept in {}", settings.state_dir.display()));
        if damaged > 0 {
            printer.warning(&format!("{damaged} records of the journal cannot be read"));
        }
    }
    Ok(if undelivered == 0 { ExitStatus::Success } else { ExitStatus::Failure })
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its body has no outcome yet.
    Running,
    /// Its changes are staged and may be merged.
    Publishing,
    /// It had no outcome when its supervisor ended; the next worker gives its task back, or is about to.
    Interrupted,
    /// Its outcome waits for the server.
    Waiting,
    /// Its outcome can never be delivered.
    Kept,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Publishing => "publishing",
            Self::Interrupted => "interrupted",
            Self::Waiting => "waiting",
            Self::Kept => "kept",
        }
    }
}

struct Shown<'a> {
    entry: &'a Entry,
    state: State,
    age: Duration,
}

impl<'a> Shown<'a> {
    /// `supervisor` is the one that lives now.
    fn new(entry: &'a Entry, now: i64, supervisor: Option<Supervisor>) -> Self {
        let is_held = supervisor.is_some_and(|supervisor| supervisor.since <= entry.claimed_at);
        let outcome_at = entry.outcome.as_ref().map(|outcome| outcome.at);
        let (state, since) = match (&entry.kept, outcome_at, &entry.staged) {
            (Some(kept), _, _) => (State::Kept, kept.at),
            (None, Some(at), _) => (State::Waiting, at),
            (None, None, _) if !is_held => (State::Interrupted, entry.claimed_at),
            (None, None, Some(_)) => (State::Publishing, entry.claimed_at),
            (None, None, None) => (State::Running, entry.claimed_at),
        };
        let age = Duration::from_millis(u64::try_from(now - since).unwrap_or(0));
        Self { entry, state, age }
    }

    fn line(&self) -> String {
        let claim = &self.entry.claim;
        let mut line = format!(
            "{:<11} {:>6}  {}  run {}  task {}  retry {}",
            self.state.word(),
            age_text(self.age),
            claim.task_name,
            claim.workflow_instance_id,
            claim.task_id,
            claim.retry_count
        );
        if let Some(kept) = &self.entry.kept {
            line.push_str(", because ");
            line.push_str(&kept.reason);
        }
        line
    }

    fn as_json(&self) -> Value {
        let claim = &self.entry.claim;
        json!({
            "state": self.state.word(),
            "age_seconds": self.age.as_secs_f64(),
            "task_name": claim.task_name,
            "workflow_instance_id": claim.workflow_instance_id,
            "reference_task_name": claim.reference_task_name,
            "task_id": claim.task_id,
            "retry_count": claim.retry_count,
            "poll_count": claim.poll_count,
            "staging_branch": self.entry.staged.as_ref().map(|staged| &staged.branch),
            "staged_commit": self.entry.staged.as_ref().map(|staged| &staged.commit),
            "returned": self.entry.returned.as_ref().map(|returned| &returned.result),
            "result": self.entry.outcome.as_ref().map(|outcome| &outcome.result),
            "failure_code": self.entry.outcome.as_ref().and_then(|outcome| outcome.failure_code.as_ref()),
            "reason": self.entry.kept.as_ref().map(|kept| &kept.reason),
        })
    }
}

/// Whole units, the largest that fits.
fn age_text(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_whole_units() {
        let text = |seconds| age_text(Duration::from_secs(seconds));
        assert_eq!(
            [text(0), text(59), text(60), text(7_199), text(86_400 * 3)],
            ["0 s", "59 s", "1 min", "1 h", "3 d"]
        );
    }
}
