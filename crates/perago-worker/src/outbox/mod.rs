//! What a worker owes its server: every claimed task, and every outcome that is not known to be with it.
//!
//! Each step is written down before it has effects outside, so that the successor of a killed supervisor knows what
//! was under way: it delivers outcomes, and gives back tasks whose bodies died with the supervisor. An outcome that can
//! never be delivered is kept with the reason, for `perago status` to show.

mod adoptable;
mod entry;
mod journal;
mod key;
mod killed;
mod recover;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use perago_conductor::{ResultStatus, Task, TaskResult};
use serde_json::value::RawValue;

pub use adoptable::Adoptable;
pub use entry::{Claim, Entry, JournalRecord, Kept, OwedOutcome, Returned, Staged};
pub use journal::{Journal, JournalError};
pub use key::Key;
pub use recover::resolve;
#[cfg(test)]
pub(crate) use recover::{Settled, Step, step, write_down};
pub(crate) use recover::{is_delivered, reason_of};

use crate::attempt::outcome::Finished;
use crate::executor::message::{Ended, Outcome};
use crate::executor::pool::BodyEnd;
use crate::executor::result_file::AttemptId;
use crate::kill_point::{self, passing};
use crate::logs::{Level, Logger, Record};

/// A cheap handle to what one worker owes.
#[derive(Debug, Clone)]
pub struct Outbox(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: RefCell<Journal>,
    entries: RefCell<BTreeMap<u64, Entry>>,
    next: Cell<u64>,
    retention: Duration,
    logger: Logger,
    /// The journal lacks steps.
    is_failing: Cell<bool>,
}

/// How an outbox keeps what it is given.
#[derive(Debug, Clone, Copy)]
pub struct OutboxOptions {
    /// Whether each step is on the disk before the next one, so that it outlives a loss of power.
    pub is_synced: bool,
    /// How long outcomes are kept that can never be delivered.
    pub retention: Duration,
}

impl Outbox {
    /// Opens the outbox in a state directory, with what an earlier supervisor has left open.
    ///
    /// # Errors
    /// The journal cannot be used, or a newer version wrote it.
    pub fn open(directory: &Path, options: OutboxOptions, logger: &Logger) -> Result<Self, JournalError> {
        let (journal, entries, damaged) = Journal::open(directory, options.is_synced)?;
        if damaged > 0 {
            logger.write(
                Record::new(Level::Warning, "journal_damaged", "records of the journal cannot be read")
                    .with("records", damaged),
            );
        }
        let next = entries.last_key_value().map_or(1, |(last, _)| last + 1);
        let inner = Inner {
            journal: RefCell::new(journal),
            entries: RefCell::new(entries),
            next: Cell::new(next),
            retention: options.retention,
            logger: logger.clone(),
            is_failing: Cell::new(false),
        };
        inner.shorten();
        Ok(Self(Rc::new(inner)))
    }

    /// Forgets what was kept for long enough.
    pub fn drop_expired(&self) {
        let oldest = self.0.oldest_kept();
        let is_expired = |entry: &Entry| entry.kept.as_ref().is_some_and(|kept| kept.at < oldest);
        if self.0.entries.borrow().values().any(is_expired) {
            self.0.shorten();
        }
    }

    /// What an earlier supervisor has left to do.
    pub fn left_open(&self) -> Vec<(u64, Entry)> {
        let entries = self.0.entries.borrow();
        let open = entries.iter().filter(|(_, entry)| entry.kept.is_none());
        open.map(|(number, entry)| (*number, entry.clone())).collect()
    }

    /// Takes over what executors wrote before the earlier supervisor could hear of it.
    ///
    /// A result of a workspace task is not reported: its workspace may not be published.
    pub fn take_ended(
        &self,
        ended: Vec<(AttemptId, Ended)>,
        has_workspace: bool,
        worker_id: &str,
        reason_limit: usize,
    ) {
        for (id, ended) in ended {
            let open = self.left_open();
            let Some((number, _)) =
                open.into_iter().find(|(_, entry)| entry.outcome.is_none() && entry.claim.is_of(&id))
            else {
                continue;
            };
            if let (true, Outcome::Completed(result)) = (has_workspace, &ended.outcome) {
                self.returned(number, result);
                continue;
            }
            let task = Task { task_id: id.task_id, workflow_instance_id: id.workflow_id, ..Task::default() };
            let end = BodyEnd::Ended(Box::new(ended));
            let finished = Finished::of_body(&task, worker_id, end, None, reason_limit);
            self.finished(number, &finished.result, finished.failure_code.as_deref());
        }
    }

    /// A task was claimed. Returns the number of its entry.
    pub fn claimed(&self, task: &Task, key: Key) -> u64 {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        let claim = Box::new(Claim::of(task));
        self.0.note(number, JournalRecord::Claimed { at: now(), claim, key: Some(key) });
        number
    }

    /// A body has returned, and its workspace is about to be published.
    pub fn returned(&self, number: u64, result: &RawValue) {
        self.0.note(number, JournalRecord::Returned(Returned { at: now(), result: result.to_owned() }));
    }

    /// Changes are staged and about to be merged.
    pub fn staged(&self, number: u64, branch: &str, commit: &str) {
        let staged = Staged { branch: branch.to_owned(), commit: commit.to_owned() };
        self.0.note(number, JournalRecord::Staged(staged));
    }

    /// The outcome is known: from now on it reaches the server, or is kept.
    pub fn finished(&self, number: u64, result: &TaskResult, failure_code: Option<&str>) {
        let outcome =
            OwedOutcome { at: now(), result: result.clone(), failure_code: failure_code.map(str::to_owned) };
        self.0.note(number, JournalRecord::Finished(Box::new(outcome)));
    }

    /// Nothing is left to do.
    pub fn closed(&self, number: u64) {
        self.0.note(number, JournalRecord::Closed);
    }

    /// The outcome can never be delivered.
    pub fn kept(&self, number: u64, reason: &str) {
        self.keep(number, reason, false);
    }

    /// The outcome can never be delivered, and its body ended after it had been told to stop.
    pub fn kept_in_doubt(&self, number: u64, reason: &str) {
        self.keep(number, reason, true);
    }

    /// Whether a body has returned a result that is not delivered.
    pub fn has_result(&self, number: u64) -> bool {
        self.0.entries.borrow().get(&number).is_some_and(|entry| {
            let outcome = entry.outcome.as_ref();
            entry.returned.is_some()
                || outcome.is_some_and(|outcome| outcome.result.status == ResultStatus::Completed)
        })
    }

    /// The entry, unless it is closed.
    pub fn entry(&self, number: u64) -> Option<Entry> {
        let held = self.0.entries.borrow().get(&number).cloned()?;
        if held.is_shelved { self.0.load(number) } else { Some(held) }
    }

    /// What is kept or open for an earlier attempt at the same work, on the same basis, and can stand for the attempt at
    /// `task`. Whether the task retries that attempt, the server knows.
    pub fn adoptable(&self, task: &Task, key: &Key) -> Option<Adoptable> {
        adoptable::newest(&self.0.entries.borrow(), task, key, |number| self.0.load(number))
    }

    fn keep(&self, number: u64, reason: &str, is_doubtful: bool) {
        self.0.note(number, JournalRecord::Kept(Kept { at: now(), reason: reason.to_owned(), is_doubtful }));
    }
}

impl Inner {
    fn note(&self, number: u64, record: JournalRecord) {
        // What is done with leaves nothing to compact for.
        let written = passing(step_of(&record), || self.journal.borrow_mut().append(number, &record));
        let mut entries = self.entries.borrow_mut();
        entry::apply(&mut entries, number, record);
        if let Some(entry) = entries.get_mut(&number) {
            self.journal.borrow().shelve(number, entry);
        }
        drop(entries);
        match written {
            Err(error) => self.begin_to_fail(&error),
            Ok(()) if self.is_failing.get() => self.recover(),
            Ok(()) if self.journal.borrow().is_long() => self.shorten(),
            Ok(()) => {}
        }
    }

    /// An entry with its results, from the journal.
    fn load(&self, number: u64) -> Option<Entry> {
        let loaded = self.journal.borrow().load(number);
        loaded.unwrap_or_else(|error| {
            let message = "what is kept cannot be read from the journal";
            let record = Record::new(Level::Warning, "journal_damaged", message);
            self.logger.write(record.with("records", 1).with("error", error.to_string()));
            None
        })
    }

    /// Once for all failures in a row: a full disk must not be filled further.
    fn begin_to_fail(&self, error: &std::io::Error) {
        if !self.is_failing.replace(true) {
            let message =
                "the journal cannot be written: outcomes that are not delivered die with this process";
            let record = Record::new(Level::Error, "journal_failed", message);
            self.logger.write(record.with("error", error.to_string()));
        }
    }

    /// Writes what the journal lacks.
    fn recover(&self) {
        if self.compact().is_ok() {
            self.is_failing.set(false);
            self.logger.event(Level::Info, "journal_recovered", "the journal can be written again");
        }
    }

    fn shorten(&self) {
        if let Err(error) = self.compact() {
            let message = "the journal cannot be written anew; it grows, and lacks nothing";
            let record = Record::new(Level::Warning, "journal_failed", message);
            self.logger.write(record.with("error", error.to_string()));
        }
    }

    fn oldest_kept(&self) -> i64 {
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        now().saturating_sub(retention)
    }

    /// Writes the journal anew, without what was kept for long enough.
    fn compact(&self) -> std::io::Result<()> {
        let oldest = self.oldest_kept();
        let mut entries = self.entries.borrow_mut();
        entries.retain(|_, entry| entry.kept.as_ref().is_none_or(|kept| kept.at >= oldest));
        self.journal.borrow_mut().rewrite(&mut entries)
    }
}

fn step_of(record: &JournalRecord) -> Option<kill_point::Step> {
    match record {
        JournalRecord::Claimed { .. } => Some(kill_point::Step::ClaimRecord),
        JournalRecord::Returned(_) => Some(kill_point::Step::ReturnedRecord),
        JournalRecord::Staged(_) => Some(kill_point::Step::StagedRecord),
        JournalRecord::Finished(_) => Some(kill_point::Step::OutcomeRecord),
        JournalRecord::Closed => Some(kill_point::Step::ClosingRecord),
        JournalRecord::Kept(_) => None,
    }
}

/// Milliseconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
