//! Removes what dead attempts have left: local directories and staging branches.
//!
//! Only what carries our own stamp is looked at, and only what the caller proves dead is removed. The proof is the
//! Conductor's answer about the attempt, never an age and never a missing record alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::attempt_directory::{AttemptMarker, attempt_directories, remove_tree};
use crate::backoff::repeated;
use crate::blocking;
use crate::error::WorkspaceError;
use crate::stamp::{CommitStamp, StagingName};
use crate::store::{Repository, StoreErrorKind};

/// What the names of all staging branches start with.
const STAGING_PREFIX: &str = "perago-staging-";

/// What the caller knows about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The server that owns it says that it has ended, and no process here works on it.
    Dead,
    /// It may be alive, or nothing is known for certain.
    Unproven,
}

/// Something that an attempt has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Garbage {
    /// A local directory.
    Directory {
        /// Where it is.
        place: PathBuf,
        /// Whose it is.
        marker: Box<AttemptMarker>,
    },
    /// A staging branch.
    Branch {
        /// Its name.
        name: String,
        /// What the name says.
        attempt: StagingName,
        /// The stamp of its commit, where it has one.
        stamp: Option<Box<CommitStamp>>,
        /// When its head was committed, in seconds since the epoch.
        committed_at: i64,
    },
}

/// Removes the directories below a workspace root that began at least `older_than` ago and are proven dead.
///
/// Returns what was removed, or with `is_dry_run` what would be. One that cannot be removed is reported in place, and
/// the rest goes on.
///
/// # Errors
/// The root cannot be read.
pub async fn collect_directories<F>(
    root: &Path,
    older_than: Duration,
    now: i64,
    is_dry_run: bool,
    mut judge: impl FnMut(AttemptMarker) -> F,
) -> Result<Vec<(Garbage, Result<(), WorkspaceError>)>, WorkspaceError>
where
    F: Future<Output = Verdict>,
{
    let root = root.to_owned();
    let mut removed = Vec::new();
    for found in blocking(move || attempt_directories(&root)).await? {
        let is_old = is_older(found.marker.started_at, older_than, now);
        if !is_old || judge(found.marker.clone()).await != Verdict::Dead {
            continue;
        }
        let place = found.place.clone();
        let result = if is_dry_run { Ok(()) } else { blocking(move || remove_tree(&place)).await };
        removed.push((Garbage::Directory { place: found.place, marker: Box::new(found.marker) }, result));
    }
    Ok(removed)
}

/// Removes the staging branches of a repository that belong to `conductor`, are at least `older_than` old and are
/// proven dead.
///
/// Branches of other Conductors and of version 0.6.1 cannot be mistaken for ours and are not even judged.
///
/// # Errors
/// The branches cannot be listed.
pub async fn collect_branches<R, F>(
    repository: &Arc<R>,
    conductor: &str,
    older_than: Duration,
    now: i64,
    is_dry_run: bool,
    mut judge: impl FnMut(StagingName, Option<CommitStamp>) -> F,
) -> Result<Vec<(Garbage, Result<(), WorkspaceError>)>, WorkspaceError>
where
    R: Repository,
    F: Future<Output = Verdict>,
{
    let mut removed = Vec::new();
    for (name, attempt) in staging_branches(repository, conductor).await? {
        // One that has gone or cannot be read meanwhile is for the next time.
        let Ok(commit) = repeated!(repository, repository.commit_of(&name)) else { continue };
        let stamp = CommitStamp::of(&commit).filter(|stamp| stamp.execution == attempt.execution);
        let is_old = is_older(commit.created_at, older_than, now);
        if !is_old || judge(attempt.clone(), stamp.clone()).await != Verdict::Dead {
            continue;
        }
        let result = if is_dry_run { Ok(()) } else { delete(repository, &name).await };
        let stamp = stamp.map(Box::new);
        removed.push((Garbage::Branch { name, attempt, stamp, committed_at: commit.created_at }, result));
    }
    Ok(removed)
}

async fn staging_branches<R: Repository>(
    repository: &Arc<R>,
    conductor: &str,
) -> Result<Vec<(String, StagingName)>, WorkspaceError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = repeated!(repository, repository.branches(STAGING_PREFIX, after.as_deref()))
            .map_err(|error| WorkspaceError::store("list staging branches", error))?;
        found.extend(page.items.into_iter().filter_map(|branch| {
            let attempt = StagingName::parse(&branch.name)?;
            attempt.is_of_conductor(conductor).then_some((branch.name, attempt))
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

async fn delete<R: Repository>(repository: &Arc<R>, name: &str) -> Result<(), WorkspaceError> {
    match repeated!(repository, repository.delete_branch(name)) {
        Err(error) if error.kind() != StoreErrorKind::NotFound => {
            Err(WorkspaceError::store(&format!("delete the branch {name}"), error))
        }
        _ => Ok(()),
    }
}

fn is_older(since: i64, age: Duration, now: i64) -> bool {
    now.saturating_sub(since) >= i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
}
