//! What the journal says of one attempt.

use std::collections::BTreeMap;

use perago_conductor::{Task, TaskResult};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::key::Key;
use crate::executor::result_file::AttemptId;

/// The claim that an attempt holds: what the server must show for the task to be ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The task's type.
    pub task_name: String,
    /// Conductor's workflow id.
    pub workflow_instance_id: String,
    /// The task's reference name in its workflow.
    pub reference_task_name: String,
    /// Conductor's task id.
    pub task_id: String,
    /// Which retry it is.
    pub retry_count: i64,
    /// How often the task was handed out.
    pub poll_count: i64,
}

impl Claim {
    /// The claim that a poll gave.
    pub fn of(task: &Task) -> Self {
        Self {
            task_name: task.task_type.clone(),
            workflow_instance_id: task.workflow_instance_id.clone(),
            reference_task_name: task.reference_task_name.clone(),
            task_id: task.task_id.clone(),
            retry_count: task.retry_count,
            poll_count: task.poll_count,
        }
    }

    /// Whether it is the claim of this attempt.
    pub fn is_of(&self, id: &AttemptId) -> bool {
        self.workflow_instance_id == id.workflow_id
            && self.task_id == id.task_id
            && self.retry_count == id.retry_count
            && self.poll_count == id.poll_count
    }
}

/// A commit that waits to be merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The staging branch.
    pub branch: String,
    /// Its commit.
    pub commit: String,
}

/// What the body of a workspace task has returned; its workspace is to be published before that is an outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Returned {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// The result, as JSON.
    pub result: Box<RawValue>,
}

/// An outcome that the server must get.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwedOutcome {
    /// When it was known, in milliseconds since the epoch.
    pub at: i64,
    /// What is reported.
    pub result: TaskResult,
    /// The failure's code, if it failed.
    pub failure_code: Option<String>,
}

/// Why an outcome can never be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Since when, in milliseconds since the epoch.
    pub at: i64,
    /// Why.
    pub reason: String,
    /// Its body ended after it had been told to stop: the result may be half of one, and stands for no other attempt.
    #[serde(default)]
    pub is_doubtful: bool,
}

/// One step of an attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalRecord {
    /// The task was claimed.
    Claimed {
        /// When, in milliseconds since the epoch.
        at: i64,
        /// What the server shows of the claim.
        claim: Box<Claim>,
        /// The rest of what makes its result that of another attempt at the same work.
        #[serde(default)]
        key: Option<Key>,
    },
    /// The body has returned, and its workspace is about to be published.
    Returned(Returned),
    /// Changes are staged.
    Staged(Staged),
    /// The outcome is known.
    Finished(Box<OwedOutcome>),
    /// The outcome can never be delivered.
    Kept(Kept),
    /// Nothing is left to do.
    Closed,
}

/// An attempt that is not closed.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When the task was claimed, in milliseconds since the epoch.
    pub claimed_at: i64,
    /// The claim.
    pub claim: Claim,
    /// The rest of what makes its result that of another attempt at the same work.
    pub key: Option<Key>,
    /// What the body of a workspace task has returned.
    pub returned: Option<Returned>,
    /// What was about to be merged.
    pub staged: Option<Staged>,
    /// The outcome, once it is known.
    pub outcome: Option<OwedOutcome>,
    /// Why the outcome can never be delivered.
    pub kept: Option<Kept>,
    /// What is kept may be there for days: its results are in the journal alone, and none are shown here.
    pub is_shelved: bool,
}

impl Entry {
    /// Lets go of the results, which the journal has.
    pub(super) fn shelve(&mut self) {
        (self.returned, self.outcome, self.is_shelved) = (None, None, true);
    }

    /// The records that say the same, in order.
    pub(super) fn records(&self) -> Vec<JournalRecord> {
        let claimed = JournalRecord::Claimed {
            at: self.claimed_at,
            claim: Box::new(self.claim.clone()),
            key: self.key.clone(),
        };
        let returned = self.returned.clone().map(JournalRecord::Returned);
        let staged = self.staged.clone().map(JournalRecord::Staged);
        let finished = self.outcome.clone().map(|outcome| JournalRecord::Finished(Box::new(outcome)));
        let kept = self.kept.clone().map(JournalRecord::Kept);
        [Some(claimed), returned, staged, finished, kept].into_iter().flatten().collect()
    }
}

/// Adds one step. A step of an attempt that is not open says nothing any more.
pub(super) fn apply(entries: &mut BTreeMap<u64, Entry>, number: u64, record: JournalRecord) {
    if let JournalRecord::Claimed { at, claim, key } = record {
        let entry = Entry {
            claimed_at: at,
            claim: *claim,
            key,
            returned: None,
            staged: None,
            outcome: None,
            kept: None,
            is_shelved: false,
        };
        entries.insert(number, entry);
        return;
    }
    let Some(entry) = entries.get_mut(&number) else { return };
    match record {
        JournalRecord::Claimed { .. } => {}
        JournalRecord::Returned(returned) => entry.returned = Some(returned),
        JournalRecord::Staged(staged) => entry.staged = Some(staged),
        JournalRecord::Finished(outcome) => entry.outcome = Some(*outcome),
        JournalRecord::Kept(kept) => entry.kept = Some(kept),
        JournalRecord::Closed => {
            entries.remove(&number);
        }
    }
}
