//! Removes what dead attempts have left: local directories and staging branches.
//!
//! Only what bears our own stamp can be removed, and only what is proven dead. A directory is dead when its lock shows
//! that every process which may have worked in it is gone. Everything else is asked of the Conductor that the stamp
//! names; neither an age nor a missing record is ever a proof. What is kept is reported with the reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::attempt_directory::{AttemptMarker, FoundDirectory, attempt_directories};
use crate::backoff::repeated;
use crate::blocking;
use crate::error::WorkspaceError;
use crate::stamp::{CommitStamp, Epoch, STAGING_PREFIX, StagingName, Work};
use crate::store::{Commit, Repository, StoreErrorKind};

/// Why something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// A process of this machine works at the attempt.
    Running,
    /// It is younger than what is asked for.
    Young,
    /// Conductor shows the attempt as queued or in progress.
    Alive,
    /// It belongs to another Conductor than the one that can be asked.
    OtherConductor,
    /// Conductor does not know the attempt: the run was removed there, or it is another server at the same address.
    TaskUnknown,
    /// Conductor gave no answer, for this reason.
    NoAnswer(String),
    /// The directory of a command that was run before this machine was started, or elsewhere: its lock proves nothing.
    Elsewhere,
    /// A directory whose marker is missing, damaged or of another version.
    MarkerUnreadable,
    /// A staging branch that this version did not name.
    NotOurs,
    /// The store does not show the branch, for this reason.
    Unread(String),
}

impl Keep {
    /// Its stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Young => "young",
            Self::Alive => "alive",
            Self::OtherConductor => "other_conductor",
            Self::TaskUnknown => "task_unknown",
            Self::NoAnswer(_) => "no_answer",
            Self::Elsewhere => "elsewhere",
            Self::MarkerUnreadable => "marker_unreadable",
            Self::NotOurs => "not_ours",
            Self::Unread(_) => "unread",
        }
    }

    /// The reason in words.
    pub fn explanation(&self) -> String {
        match self {
            Self::Running => "its attempt runs on this machine".to_owned(),
            Self::Young => "it is not old enough".to_owned(),
            Self::Alive => "Conductor shows its attempt as not ended".to_owned(),
            Self::OtherConductor => "it belongs to another Conductor".to_owned(),
            Self::TaskUnknown => "Conductor does not know its attempt".to_owned(),
            Self::NoAnswer(reason) => format!("Conductor gave no answer: {reason}"),
            Self::Elsewhere => {
                "it was made before this machine was started, on another machine or through another mount"
                    .to_owned()
            }
            Self::MarkerUnreadable => {
                "its marker is missing, damaged or of another version of Perago".to_owned()
            }
            Self::NotOurs => "it was not named by this version of Perago".to_owned(),
            Self::Unread(reason) => format!("lakeFS does not show it: {reason}"),
        }
    }

    /// Whether nothing but a person will ever remove it.
    pub fn is_for_a_person(&self) -> bool {
        matches!(self, Self::TaskUnknown | Self::Elsewhere | Self::MarkerUnreadable)
    }
}

/// What is known about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server that owns it says that it has ended.
    Dead,
    /// It may be alive, or nothing is known for certain.
    Unproven(Keep),
}

/// An attempt that has left something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Conductor's task id.
    pub task_id: String,
    /// Which attempt it is.
    pub epoch: Epoch,
    /// Conductor's workflow id, where it is known.
    pub workflow_instance_id: Option<String>,
    work: String,
}

impl Suspect {
    /// The attempt that a marker is of.
    pub fn of_marker(marker: &AttemptMarker) -> Self {
        Self {
            task_id: marker.task_id.clone(),
            epoch: marker.epoch(),
            workflow_instance_id: Some(marker.workflow_instance_id.clone()),
            work: marker.work().fingerprint(),
        }
    }

    fn of_branch(name: &StagingName, stamp: Option<&CommitStamp>) -> Self {
        Self {
            // The name has it reduced to a few characters.
            task_id: stamp.map_or(&name.task_id, |stamp| &stamp.task_id).clone(),
            epoch: name.epoch,
            workflow_instance_id: stamp.map(|stamp| stamp.work.workflow_instance_id.clone()),
            work: name.work().to_owned(),
        }
    }

    /// Whether it is an attempt at this work.
    pub fn is_of_work(&self, work: &Work) -> bool {
        self.work == work.fingerprint()
    }
}

/// Who knows whether attempts have ended.
pub trait Judge {
    /// Says what is known about an attempt of the Conductor that it was made for.
    fn judge(&mut self, suspect: &Suspect) -> impl Future<Output = Verdict>;
}

/// What may be removed.
#[derive(Debug, Clone)]
pub struct CollectOptions {
    /// The Conductor that the judge asks, as stamps name it.
    pub conductor: String,
    /// Nothing that began later than this long ago is removed.
    pub older_than: Duration,
    /// As `older_than`, for directories whose processes are gone for certain.
    pub abandoned_older_than: Duration,
    /// The time, in seconds since the epoch.
    pub now: i64,
    /// Finds what would be removed and removes nothing.
    pub is_dry_run: bool,
}

impl CollectOptions {
    pub(crate) fn is_old(&self, since: i64, age: Duration) -> bool {
        self.now.saturating_sub(since) >= i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
    }
}

/// Something that an attempt has left or still uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Garbage {
    /// A local directory.
    Directory {
        /// Where it is.
        place: PathBuf,
        /// Whose it is, where that can be read.
        marker: Option<Box<AttemptMarker>>,
    },
    /// A staging branch.
    Branch {
        /// Its name.
        name: String,
        /// What the name says, where this version gave it.
        attempt: Option<Box<StagingName>>,
        /// The stamp of the attempt's commit on it, where there is one.
        stamp: Option<Box<CommitStamp>>,
        /// When that was committed, in seconds since the epoch.
        committed_at: Option<i64>,
    },
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// It is gone, or would be.
    Removed,
    /// It is left, for this reason.
    Kept(Keep),
    /// It should be gone and could not be removed.
    Failed(WorkspaceError),
}

/// Something found, and what became of it.
#[derive(Debug)]
pub struct Collected {
    /// What it is.
    pub garbage: Garbage,
    /// What became of it.
    pub outcome: Outcome,
}

/// Removes the directories below a workspace root whose attempts are dead, and says what became of each one.
///
/// # Errors
/// The root cannot be read.
pub async fn collect_directories<J: Judge>(
    root: &Path,
    options: &CollectOptions,
    judge: &mut J,
) -> Result<Vec<Collected>, WorkspaceError> {
    let root = root.to_owned();
    let mut collected = Vec::new();
    for place in blocking(move || attempt_directories(&root)).await? {
        // One at a time: each one that is looked at costs an open file.
        let Some(found) = blocking(move || Ok(FoundDirectory::inspect(&place))).await? else { continue };
        let garbage =
            Garbage::Directory { place: found.place.clone(), marker: found.marker.clone().map(Box::new) };
        let outcome = match judge_directory(&found, options, judge).await {
            Verdict::Unproven(keep) => Outcome::Kept(keep),
            Verdict::Dead if options.is_dry_run => Outcome::Removed,
            Verdict::Dead => {
                blocking(move || found.remove()).await.map_or_else(Outcome::Failed, |()| Outcome::Removed)
            }
        };
        collected.push(Collected { garbage, outcome });
    }
    Ok(collected)
}

async fn judge_directory<J: Judge>(
    found: &FoundDirectory,
    options: &CollectOptions,
    judge: &mut J,
) -> Verdict {
    if found.is_running {
        return Verdict::Unproven(Keep::Running);
    }
    let Some(marker) = &found.marker else { return Verdict::Unproven(Keep::MarkerUnreadable) };
    let age = if found.is_abandoned { options.abandoned_older_than } else { options.older_than };
    if !options.is_old(marker.started_at, age) {
        return Verdict::Unproven(Keep::Young);
    }
    if found.is_abandoned {
        return Verdict::Dead;
    }
    if marker.conductor != options.conductor {
        return Verdict::Unproven(Keep::OtherConductor);
    }
    judge.judge(&Suspect::of_marker(marker)).await
}

/// Removes the staging branches of a repository whose attempts are dead, and says what became of each one.
///
/// Branches of `running` executions, of other Conductors and of other versions are not even judged.
///
/// # Errors
/// The branches cannot be listed.
pub async fn collect_branches<R: Repository, J: Judge>(
    repository: &Arc<R>,
    options: &CollectOptions,
    running: &BTreeSet<String>,
    judge: &mut J,
) -> Result<Vec<Collected>, WorkspaceError> {
    let mut collected = Vec::new();
    for name in staging_branches(repository).await? {
        let attempt = StagingName::parse(&name);
        let seen = match check_name(attempt.as_ref(), options, running) {
            Ok(attempt) => Seen::at(repository, &name, attempt).await,
            Err(keep) => Some(Seen::not_looked_at(keep)),
        };
        let Some(seen) = seen else { continue };
        let outcome = match (seen.kept, &attempt) {
            (None, Some(attempt)) => {
                let suspect = Suspect::of_branch(attempt, seen.stamp.as_ref());
                // Without a commit of its own it holds nothing, whatever its age is.
                if seen.committed_at.is_some_and(|since| !options.is_old(since, options.older_than)) {
                    Outcome::Kept(Keep::Young)
                } else {
                    remove_if_dead(repository, &name, options, judge.judge(&suspect).await).await
                }
            }
            (kept, _) => Outcome::Kept(kept.unwrap_or(Keep::NotOurs)),
        };
        let garbage = Garbage::Branch {
            name,
            attempt: attempt.map(Box::new),
            stamp: seen.stamp.map(Box::new),
            committed_at: seen.committed_at,
        };
        collected.push(Collected { garbage, outcome });
    }
    Ok(collected)
}

fn check_name<'a>(
    attempt: Option<&'a StagingName>,
    options: &CollectOptions,
    running: &BTreeSet<String>,
) -> Result<&'a StagingName, Keep> {
    let attempt = attempt.ok_or(Keep::NotOurs)?;
    if !attempt.is_of_conductor(&options.conductor) {
        return Err(Keep::OtherConductor);
    }
    if running.contains(&attempt.execution) {
        return Err(Keep::Running);
    }
    Ok(attempt)
}

/// What the store shows of a branch.
struct Seen {
    stamp: Option<CommitStamp>,
    committed_at: Option<i64>,
    kept: Option<Keep>,
}

impl Seen {
    fn not_looked_at(keep: Keep) -> Self {
        Self { stamp: None, committed_at: None, kept: Some(keep) }
    }

    /// `None` for a branch that has gone meanwhile.
    async fn at<R: Repository>(repository: &Arc<R>, name: &str, attempt: &StagingName) -> Option<Self> {
        match repeated!(repository, repository.commit_of(name)) {
            Ok(commit) => {
                let stamp = own_stamp(&commit, attempt);
                let committed_at = stamp.is_some().then_some(commit.created_at);
                Some(Self { stamp, committed_at, kept: None })
            }
            Err(error) if error.kind() == StoreErrorKind::NotFound => None,
            Err(error) => Some(Self::not_looked_at(Keep::Unread(error.to_string()))),
        }
    }
}

// A branch that was only made shows the commit that it was made from, perhaps another attempt's.
fn own_stamp(commit: &Commit, attempt: &StagingName) -> Option<CommitStamp> {
    CommitStamp::of(commit).filter(|stamp| stamp.execution == attempt.execution)
}

async fn remove_if_dead<R: Repository>(
    repository: &Arc<R>,
    name: &str,
    options: &CollectOptions,
    verdict: Verdict,
) -> Outcome {
    match verdict {
        Verdict::Unproven(keep) => Outcome::Kept(keep),
        Verdict::Dead if options.is_dry_run => Outcome::Removed,
        Verdict::Dead => match repeated!(repository, repository.delete_branch(name)) {
            Err(error) if error.kind() != StoreErrorKind::NotFound => {
                Outcome::Failed(WorkspaceError::store(&format!("delete the branch {name}"), error))
            }
            _ => Outcome::Removed,
        },
    }
}

async fn staging_branches<R: Repository>(repository: &Arc<R>) -> Result<Vec<String>, WorkspaceError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = repeated!(repository, repository.branches(STAGING_PREFIX, after.as_deref()))
            .map_err(|error| WorkspaceError::store("list staging branches", error))?;
        found.extend(page.items.into_iter().map(|branch| branch.name));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}
