//! Named points at which a worker or one of its executors kills itself, for tests of what happens then.
//!
//! `PERAGO_FAULT_KILL_AT` arms one point. An unarmed worker pays one load of memory at each.

use std::future::Future;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

static ARMED: OnceLock<Armed> = OnceLock::new();

#[derive(Debug)]
struct Armed {
    point: KillPoint,
    left: AtomicU64,
}

/// A point in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillPoint {
    /// Before this is done.
    Before(Step),
    /// After it, before anything else.
    After(Step),
    /// The supervisor knows that the body runs.
    InBody,
}

/// What is done at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The claim is written to the journal.
    ClaimRecord,
    /// The workspace is made and filled.
    Checkout,
    /// What the body returned is written to the journal, before anything is published for it.
    ReturnedRecord,
    /// The staging branch is made.
    Staging,
    /// A file is uploaded to it.
    Upload,
    /// It is committed.
    Commit,
    /// What is staged is written to the journal.
    StagedRecord,
    /// It is merged.
    Merge,
    /// The staging branch is deleted.
    Cleanup,
    /// The outcome is written to the journal.
    OutcomeRecord,
    /// It is reported to Conductor.
    Report,
    /// The end of the attempt is written to the journal.
    ClosingRecord,
    /// The executor has read a task and says so; then its body begins.
    Acknowledgement,
    /// The executor writes the outcome of a body down; then it tells the supervisor.
    ResultFile,
}

use KillPoint::{After, Before, InBody};

/// Every point by its name, in the order of an attempt.
pub const KILL_POINTS: &[(&str, KillPoint)] = &[
    ("before-claim-record", Before(Step::ClaimRecord)),
    ("after-claim-record", After(Step::ClaimRecord)),
    ("before-checkout", Before(Step::Checkout)),
    ("after-checkout", After(Step::Checkout)),
    ("before-acknowledgement", Before(Step::Acknowledgement)),
    ("after-acknowledgement", After(Step::Acknowledgement)),
    ("in-body", InBody),
    ("before-result-file", Before(Step::ResultFile)),
    ("after-result-file", After(Step::ResultFile)),
    ("before-returned-record", Before(Step::ReturnedRecord)),
    ("after-returned-record", After(Step::ReturnedRecord)),
    ("before-staging", Before(Step::Staging)),
    ("after-staging", After(Step::Staging)),
    ("before-upload", Before(Step::Upload)),
    ("after-upload", After(Step::Upload)),
    ("before-commit", Before(Step::Commit)),
    ("after-commit", After(Step::Commit)),
    ("before-staged-record", Before(Step::StagedRecord)),
    ("after-staged-record", After(Step::StagedRecord)),
    ("before-merge", Before(Step::Merge)),
    ("after-merge", After(Step::Merge)),
    ("before-cleanup", Before(Step::Cleanup)),
    ("after-cleanup", After(Step::Cleanup)),
    ("before-outcome-record", Before(Step::OutcomeRecord)),
    ("after-outcome-record", After(Step::OutcomeRecord)),
    ("before-report", Before(Step::Report)),
    ("after-report", After(Step::Report)),
    ("before-closing-record", Before(Step::ClosingRecord)),
    ("after-closing-record", After(Step::ClosingRecord)),
];

/// A point and the time of reaching it, from 1, at which the process dies: `after-merge` or `after-merge:2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KillAt {
    point: KillPoint,
    nth: u64,
}

/// A text that names no point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the name of a point, or POINT:N with N from 1")]
pub struct NoSuchPoint;

impl KillAt {
    /// The point's name.
    pub fn point(self) -> &'static str {
        let found = KILL_POINTS.iter().find(|(_, point)| *point == self.point);
        found.map_or("", |(name, _)| name)
    }

    /// Kills this process when it reaches the point for the n-th time from now on. Only the first call counts.
    pub fn arm(self) {
        let _ = ARMED.set(Armed { point: self.point, left: AtomicU64::new(self.nth) });
    }
}

impl FromStr for KillAt {
    type Err = NoSuchPoint;

    fn from_str(text: &str) -> Result<Self, NoSuchPoint> {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or(NoSuchPoint)?;
        let (_, point) = KILL_POINTS.iter().find(|(known, _)| *known == name).ok_or(NoSuchPoint)?;
        Ok(Self { point: *point, nth })
    }
}

impl TryFrom<String> for KillAt {
    type Error = NoSuchPoint;

    fn try_from(text: String) -> Result<Self, NoSuchPoint> {
        text.parse()
    }
}

impl From<KillAt> for String {
    fn from(at: KillAt) -> Self {
        format!("{}:{}", at.point(), at.nth)
    }
}

/// This point is reached: a process that is armed for it may end here.
pub fn reached(point: KillPoint) {
    if let Some(armed) = ARMED.get()
        && armed.point == point
        && armed.left.fetch_sub(1, Ordering::AcqRel) == 1
    {
        let _ = kill(Pid::this(), Signal::SIGKILL);
        // The first process of a container hears no such signal of its own.
        std::process::abort();
    }
}

/// Does something between its two points, if it has any.
pub fn passing<T>(step: Option<Step>, work: impl FnOnce() -> T) -> T {
    if let Some(step) = step {
        reached(Before(step));
    }
    let done = work();
    if let Some(step) = step {
        reached(After(step));
    }
    done
}

/// Awaits something between its two points.
pub async fn around<T>(step: Step, work: impl Future<Output = T>) -> T {
    reached(Before(step));
    let done = work.await;
    reached(After(step));
    done
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{KILL_POINTS, KillAt, NoSuchPoint};

    #[test]
    fn names_are_unique_and_survive_a_launch() {
        let names: BTreeSet<_> = KILL_POINTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), KILL_POINTS.len());
        for (name, point) in KILL_POINTS {
            let at: KillAt = name.parse().unwrap();
            assert_eq!((at.point, at.nth, at.point()), (*point, 1, *name));
            let again: KillAt = serde_json::from_str(&serde_json::to_string(&at).unwrap()).unwrap();
            assert_eq!(again, at);
        }
        assert_eq!("in-body:3".parse::<KillAt>().unwrap().nth, 3);
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for text in ["", "merge", "in-body:0", "in-body:", "in-body:x", "in-body:-1", "In-Body", ":1"] {
            assert_eq!(text.parse::<KillAt>(), Err(NoSuchPoint), "{text}");
        }
    }
}
