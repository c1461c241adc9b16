//! How an attempt marks what it leaves in a repository, so that it can be recognised for certain.
//!
//! *Work* is what retries share: one task of one workflow run, in one iteration, on one Conductor. The *epoch* orders
//! its attempts. Both stand in the metadata of every commit and in the name of every staging branch.

use std::collections::BTreeMap;

use perago_contract::{StagingAttempt, staging_branch_name};
use serde::{Deserialize, Serialize};

use crate::store::{Commit, CommitText};

/// What the names of all staging branches start with.
pub(crate) const STAGING_PREFIX: &str = "perago-staging-";

const CONDUCTOR: &str = "perago.conductor";
const WORKFLOW: &str = "perago.workflow_instance_id";
const REFERENCE: &str = "perago.reference_task_name";
const ITERATION: &str = "perago.iteration";
const RETRY: &str = "perago.retry_count";
const POLL: &str = "perago.poll_count";
const TASK: &str = "perago.task_id";
const TASK_NAME: &str = "perago.task_name";
const EXECUTION: &str = "perago.execution_id";
const WORKER: &str = "perago.worker_id";
const INPUT: &str = "perago.input_ref";
const LINK: &str = "perago.link";
const INPUT_HASH: &str = "perago.input_hash";
const CODE_HASH: &str = "perago.code_hash";
const RESULT: &str = "perago.result";

/// A longer result is not put into the metadata of its commit: each look at a branch's history carries all of them.
pub const LONGEST_RESULT_IN_COMMIT: usize = 4096;

/// What all attempts at one piece of work share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Work {
    /// The Conductor that schedules it: its address, without credentials.
    pub conductor: String,
    /// Conductor's workflow id.
    pub workflow_instance_id: String,
    /// The task's reference name in that workflow.
    pub reference_task_name: String,
    /// Iteration of an enclosing loop.
    pub iteration: u64,
}

/// The order of attempts at one piece of work: retries first, then the polls of one retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Which retry it is.
    pub retry_count: u64,
    /// How often the task was handed out.
    pub poll_count: u64,
}

/// Everything that an attempt writes into the metadata of its commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The work.
    pub work: Work,
    /// Which attempt at it.
    pub epoch: Epoch,
    /// Conductor's task id.
    pub task_id: String,
    /// The task's type.
    pub task_name: String,
    /// Position of the task in its workflow.
    pub seq: u64,
    /// Our own id of this run of the attempt, 32 hexadecimal digits.
    pub execution: String,
    /// The worker.
    pub worker_id: String,
    /// The pinned commit that the attempt started from.
    pub input_ref: String,
    /// Where a person finds the run.
    pub link: String,
    /// What its result depends on.
    pub basis: Basis,
}

/// What the result of a body depends on, as far as we know it: a result may stand for another attempt at the same work
/// only if both are the same. What is not known is the same as nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Basis {
    /// Digits that stand for the task's whole input.
    pub input_hash: Option<String>,
    /// Digits that stand for the code.
    pub code_hash: Option<String>,
}

impl Basis {
    /// Whether a result on this basis may stand for one on the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.input_hash.is_some() && self.code_hash.is_some() && self == other
    }
}

impl Work {
    // Names reduce values to a few characters, so equal names prove nothing; these digits do.
    pub(crate) fn fingerprint(&self) -> String {
        let iteration = self.iteration.to_string();
        let parts = [&self.conductor, &self.workflow_instance_id, &self.reference_task_name, &iteration];
        fingerprint(&parts.map(String::as_str))
    }
}

impl Stamp {
    /// The metadata of its commits.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        [
            (CONDUCTOR, self.work.conductor.clone()),
            (WORKFLOW, self.work.workflow_instance_id.clone()),
            (REFERENCE, self.work.reference_task_name.clone()),
            (ITERATION, self.work.iteration.to_string()),
            (RETRY, self.epoch.retry_count.to_string()),
            (POLL, self.epoch.poll_count.to_string()),
            (TASK, self.task_id.clone()),
            (TASK_NAME, self.task_name.clone()),
            (EXECUTION, self.execution.clone()),
            (WORKER, self.worker_id.clone()),
            (INPUT, self.input_ref.clone()),
            (LINK, self.link.clone()),
        ]
        .into_iter()
        .chain(self.basis.input_hash.clone().map(|hash| (INPUT_HASH, hash)))
        .chain(self.basis.code_hash.clone().map(|hash| (CODE_HASH, hash)))
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// Message and metadata of a commit of this attempt; `action` says what the commit does.
    pub fn text(&self, action: &str) -> CommitText {
        let message = format!(
            "{action} {} of workflow {}",
            self.work.reference_task_name, self.work.workflow_instance_id
        );
        CommitText { message, metadata: self.metadata() }
    }

    /// The same with the body's result as JSON, unless it is long: a retry on any host finds it there.
    pub fn text_with_result(&self, action: &str, result: Option<&str>) -> CommitText {
        let mut text = self.text(action);
        if let Some(result) = result.filter(|result| result.len() <= LONGEST_RESULT_IN_COMMIT) {
            text.metadata.insert(RESULT.to_owned(), result.to_owned());
        }
        text
    }

    /// The name of the attempt's staging branch.
    pub fn staging_branch(&self) -> String {
        let execution = format!(
            "p{}-{}-{}-{}",
            self.epoch.poll_count,
            fingerprint(&[&self.work.conductor]),
            self.work.fingerprint(),
            self.execution
        );
        staging_branch_name(&StagingAttempt {
            workflow_instance_id: &self.work.workflow_instance_id,
            reference_task_name: &self.work.reference_task_name,
            seq: &self.seq.to_string(),
            iteration: &self.work.iteration.to_string(),
            task_id: &self.task_id,
            retry_count: &self.epoch.retry_count.to_string(),
            execution_id: &execution,
        })
    }

    /// What the names of all staging branches of this work start with, and some of other work.
    pub fn staging_prefix(&self) -> String {
        let name = self.staging_branch();
        let end = name.find("-seq-").unwrap_or(name.len());
        name[..end].to_owned()
    }
}

/// What the name of a staging branch says; only names that this version gave can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingName {
    /// Conductor's task id, reduced to letters, digits, `_` and `-`.
    pub task_id: String,
    /// The attempt's epoch.
    pub epoch: Epoch,
    /// Our own id of the run.
    pub execution: String,
    conductor: String,
    work: String,
}

impl StagingName {
    /// Reads the name of a branch; `None` for branches of anybody else, those of 0.6.1 among them.
    pub fn parse(branch: &str) -> Option<Self> {
        let rest = branch.strip_prefix(STAGING_PREFIX)?;
        let (rest, own) = rest.rsplit_once("-exec-p")?;
        let (rest, retry) = rest.rsplit_once("-retry-")?;
        let (_, task_id) = rest.rsplit_once("-task-id-")?;
        let parts: Vec<&str> = own.split('-').collect();
        let [poll, conductor, work, execution] = parts[..] else { return None };
        let hexadecimal = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if !hexadecimal(conductor, 16) || !hexadecimal(work, 16) || !hexadecimal(execution, 32) {
            return None;
        }
        Some(Self {
            task_id: task_id.to_owned(),
            epoch: Epoch { retry_count: retry.parse().ok()?, poll_count: poll.parse().ok()? },
            execution: execution.to_owned(),
            conductor: conductor.to_owned(),
            work: work.to_owned(),
        })
    }

    /// Whether the branch belongs to work of this Conductor.
    pub fn is_of_conductor(&self, conductor: &str) -> bool {
        self.conductor == fingerprint(&[conductor])
    }

    /// The digits that stand for its work.
    pub(crate) fn work(&self) -> &str {
        &self.work
    }

    /// Whether the branch belongs to this work.
    pub fn is_of_work(&self, work: &Work) -> bool {
        self.work == work.fingerprint() && self.is_of_conductor(&work.conductor)
    }
}

/// Who made a commit, as far as its stamp says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStamp {
    /// The work.
    pub work: Work,
    /// Which attempt at it.
    pub epoch: Epoch,
    /// The task's type.
    pub task_name: String,
    /// Conductor's task id.
    pub task_id: String,
    /// Our own id of the run.
    pub execution: String,
    /// The worker.
    pub worker_id: String,
    /// What the result depends on.
    pub basis: Basis,
    /// The body's result as JSON, if it was short.
    pub result: Option<String>,
}

impl CommitStamp {
    /// The stamp of a commit; `None` without a complete one.
    pub fn of(commit: &Commit) -> Option<Self> {
        let text = |key: &str| commit.metadata.get(key).cloned();
        let number = |key: &str| commit.metadata.get(key)?.parse().ok();
        Some(Self {
            work: Work {
                conductor: text(CONDUCTOR)?,
                workflow_instance_id: text(WORKFLOW)?,
                reference_task_name: text(REFERENCE)?,
                iteration: number(ITERATION)?,
            },
            epoch: Epoch { retry_count: number(RETRY)?, poll_count: number(POLL)? },
            task_name: text(TASK_NAME)?,
            task_id: text(TASK)?,
            execution: text(EXECUTION)?,
            worker_id: text(WORKER)?,
            basis: Basis { input_hash: text(INPUT_HASH), code_hash: text(CODE_HASH) },
            result: text(RESULT),
        })
    }
}

fn fingerprint(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // Lengths keep neighbours apart: ("a", "bc") is not ("ab", "c").
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(reference: &str, retry: u64, poll: u64) -> Stamp {
        Stamp {
            work: Work {
                conductor: "http://conductor/api".to_owned(),
                workflow_instance_id: "wf-retry-1".to_owned(),
                reference_task_name: reference.to_owned(),
                iteration: 0,
            },
            epoch: Epoch { retry_count: retry, poll_count: poll },
            task_id: "t-exec-p1".to_owned(),
            task_name: "features.build".to_owned(),
            seq: 3,
            execution: "0123456789abcdef0123456789abcdef".to_owned(),
            worker_id: "w".to_owned(),
            input_ref: "r".to_owned(),
            link: "http://conductor/execution/wf".to_owned(),
            basis: Basis::default(),
        }
    }

    #[test]
    fn a_branch_name_says_whose_it_is() {
        let own = stamp("mix ä", 2, 5);
        let name = own.staging_branch();
        assert!(name.starts_with(
            "perago-staging-wf-retry-1-mix-seq-3-iteration-0-task-id-t-exec-p1-retry-2-exec-p5-"
        ));
        assert!(name.starts_with(&own.staging_prefix()));
        let read = StagingName::parse(&name).unwrap();
        assert_eq!(read.epoch, own.epoch);
        assert_eq!((read.task_id.as_str(), &read.execution), ("t-exec-p1", &own.execution));
        assert!(read.is_of_work(&own.work) && read.is_of_conductor("http://conductor/api"));
        assert!(!read.is_of_conductor("http://other/api"));
        let alike = stamp("mix-ö", 2, 5);
        assert_eq!(alike.staging_prefix(), own.staging_prefix());
        assert!(!read.is_of_work(&alike.work), "names that look alike are told apart");
    }

    #[test]
    fn branches_of_others_cannot_be_read() {
        for name in [
            "main",
            "perago-staging-w1-ref-seq-1-iteration-0-task-id-t1-retry-0-exec-0123456789abcdef0123456789abcdef",
            "perago-staging-w1-ref-seq-1-iteration-0-task-id-t1-retry-0-exec-p1-x-y-z",
            "perago-staging-",
        ] {
            assert_eq!(StagingName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_stamp_survives_its_commit() {
        let own = stamp("mix", 1, 1);
        let text = own.text("publish");
        assert_eq!(text.message, "publish mix of workflow wf-retry-1");
        let mut commit = Commit {
            id: "c".to_owned(),
            parents: Vec::new(),
            committer: "admin".to_owned(),
            message: text.message,
            created_at: 0,
            metadata: text.metadata,
        };
        let read = CommitStamp::of(&commit).unwrap();
        assert_eq!((read.work, read.epoch), (own.work, own.epoch));
        assert!(!read.basis.is_same(&own.basis), "what is not known is not the same");
        commit.metadata.remove(POLL);
        assert_eq!(CommitStamp::of(&commit), None);
    }

    #[test]
    fn a_short_result_travels_with_its_commit() {
        let basis = Basis { input_hash: Some("i".to_owned()), code_hash: Some("c".to_owned()) };
        let own = Stamp { basis: basis.clone(), ..stamp("mix", 1, 1) };
        let read = |result: &str| {
            let text = own.text_with_result("publish", Some(result));
            let (message, metadata) = (text.message, text.metadata);
            let (id, parents, committer) = ("c".to_owned(), Vec::new(), "admin".to_owned());
            CommitStamp::of(&Commit { id, parents, committer, message, created_at: 0, metadata }).unwrap()
        };
        assert!(read("1").basis.is_same(&basis));
        assert_eq!(read("{\"x\":1.0}").result.as_deref(), Some("{\"x\":1.0}"));
        assert_eq!(read(&"1".repeat(LONGEST_RESULT_IN_COMMIT + 1)).result, None);
    }

    #[test]
    fn epochs_are_ordered_by_retry_then_poll() {
        let epoch = |retry_count, poll_count| Epoch { retry_count, poll_count };
        assert!(epoch(0, 9) < epoch(1, 0) && epoch(1, 0) < epoch(1, 1));
    }
}
