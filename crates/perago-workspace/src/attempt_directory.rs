//! The local directory of one attempt, from its making to its end.
//!
//! `<root>/task_id=…-exec=…/` holds the marker, which says whose it is, and beside it `files/`, which the body sees. A
//! body can empty its directory without making the attempt's one unrecognisable.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::WorkspaceError;
use crate::path::MARKER_FILE;
use crate::stamp::{Epoch, Stamp, Work};

const FILES: &str = "files";

/// What the marker says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptMarker {
    /// The Conductor that the attempt belongs to.
    pub conductor: String,
    /// Conductor's workflow id.
    pub workflow_instance_id: String,
    /// The task's reference name.
    pub reference_task_name: String,
    /// Iteration of an enclosing loop.
    pub iteration: u64,
    /// Conductor's task id.
    pub task_id: String,
    /// The task's type.
    pub task_def_name: String,
    /// Which retry it is.
    pub retry_count: u64,
    /// How often the task was handed out.
    pub poll_count: u64,
    /// Our own id of the run.
    pub execution_id: String,
    /// The worker.
    pub owner_worker_id: String,
    /// The supervisor's process.
    pub owner_pid: u32,
    /// The repository that it may stage in.
    pub repository: String,
    /// The staging branch that it may have made.
    pub staging_branch: String,
    /// When it began, in seconds since the epoch.
    pub started_at: i64,
}

impl AttemptMarker {
    /// The marker of an attempt that begins now, in this process.
    pub fn new(stamp: &Stamp, repository: &str, started_at: i64) -> Self {
        Self {
            conductor: stamp.work.conductor.clone(),
            workflow_instance_id: stamp.work.workflow_instance_id.clone(),
            reference_task_name: stamp.work.reference_task_name.clone(),
            iteration: stamp.work.iteration,
            task_id: stamp.task_id.clone(),
            task_def_name: stamp.task_name.clone(),
            retry_count: stamp.epoch.retry_count,
            poll_count: stamp.epoch.poll_count,
            execution_id: stamp.execution.clone(),
            owner_worker_id: stamp.worker_id.clone(),
            owner_pid: std::process::id(),
            repository: repository.to_owned(),
            staging_branch: stamp.staging_branch(),
            started_at,
        }
    }

    /// The work that it is an attempt at.
    pub fn work(&self) -> Work {
        Work {
            conductor: self.conductor.clone(),
            workflow_instance_id: self.workflow_instance_id.clone(),
            reference_task_name: self.reference_task_name.clone(),
            iteration: self.iteration,
        }
    }

    /// Which attempt at it.
    pub fn epoch(&self) -> Epoch {
        Epoch { retry_count: self.retry_count, poll_count: self.poll_count }
    }
}

/// The directory of a running attempt.
#[derive(Debug)]
pub struct AttemptDirectory {
    place: PathBuf,
}

impl AttemptDirectory {
    /// Makes the directory of an attempt below the workspace root.
    ///
    /// # Errors
    /// It exists already, or what the system says.
    pub fn create(root: &Path, marker: &AttemptMarker) -> Result<Self, WorkspaceError> {
        let name = format!("task_id={}-exec={}", safe(&marker.task_id), safe(&marker.execution_id));
        let place = root.join(name);
        let failed = |error| WorkspaceError::local("make", place.display(), error);
        spread(root);
        std::fs::DirBuilder::new().mode(0o755).create(&place).map_err(failed)?;
        let directory = Self { place: place.clone() };
        directory.fill(marker).map_err(failed)?;
        Ok(directory)
    }

    fn fill(&self, marker: &AttemptMarker) -> io::Result<()> {
        let text = serde_json::to_vec(marker).map_err(io::Error::other)?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.place.join(MARKER_FILE))?;
        file.write_all(&text)?;
        std::fs::create_dir(self.files())
    }

    /// The directory that the body sees.
    pub fn files(&self) -> PathBuf {
        self.place.join(FILES)
    }

    /// Removes it with everything below it. Blocks on the file system.
    ///
    /// # Errors
    /// What the system says; it is found later by its marker.
    pub fn remove(&self) -> Result<(), WorkspaceError> {
        remove_tree(&self.place)
    }
}

/// Tells the file system that the directories below `root` have nothing to do with each other.
///
/// ext4 puts them into different block groups then. In one group a new file costs more with every file that was removed
/// there in the last minutes, where the file system has no journal: thousands of files, a second and more.
#[cfg(target_os = "linux")]
fn spread(root: &Path) {
    use rustix::fs::IFlags;

    // A hint: file systems without it are as good without.
    let Ok(directory) = std::fs::File::open(root) else { return };
    let Ok(flags) = rustix::fs::ioctl_getflags(&directory) else { return };
    if !flags.contains(IFlags::TOPDIR) {
        let _ = rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR);
    }
}

#[cfg(not(target_os = "linux"))]
fn spread(_root: &Path) {}

/// A directory that an attempt has left, with what its marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftDirectory {
    /// Where it is.
    pub place: PathBuf,
    /// Whose it is.
    pub marker: AttemptMarker,
}

/// Lists the attempt directories below a workspace root; what has no readable marker is nobody's and is left out.
///
/// # Errors
/// The root cannot be read.
pub fn attempt_directories(root: &Path) -> Result<Vec<LeftDirectory>, WorkspaceError> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| WorkspaceError::local("read", root.display(), error))?,
    };
    let mut found: Vec<LeftDirectory> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            let text = std::fs::read(entry.path().join(MARKER_FILE)).ok()?;
            Some(LeftDirectory { place: entry.path(), marker: serde_json::from_slice(&text).ok()? })
        })
        .collect();
    found.sort_by(|left, right| left.place.cmp(&right.place));
    Ok(found)
}

/// Removes a directory tree, also where a body has taken away its own permissions. Links are removed, not followed.
///
/// # Errors
/// What the system says.
pub fn remove_tree(place: &Path) -> Result<(), WorkspaceError> {
    let failed = |error| WorkspaceError::local("remove", place.display(), error);
    match std::fs::remove_dir_all(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(place).map_err(failed)?;
            std::fs::remove_dir_all(place).map_err(failed)
        }
        removed => removed.map_err(failed),
    }
}

fn make_writable(place: &Path) -> io::Result<()> {
    let mut open = vec![place.to_owned()];
    while let Some(directory) = open.pop() {
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

// The segments of directory and log names: what is not plain becomes `_`.
fn safe(value: &str) -> String {
    let mut reduced = String::with_capacity(value.len());
    for character in value.chars() {
        let is_plain = character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '=' | '-');
        if is_plain {
            reduced.push(character);
        } else if !reduced.ends_with('_') {
            reduced.push('_');
        }
    }
    match reduced.trim_matches(['.', '_']) {
        "" => "unknown".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn marker() -> AttemptMarker {
        let stamp = Stamp {
            work: Work {
                conductor: "c".to_owned(),
                workflow_instance_id: "wf".to_owned(),
                reference_task_name: "mix".to_owned(),
                iteration: 0,
            },
            epoch: Epoch { retry_count: 1, poll_count: 2 },
            task_id: "../t 1".to_owned(),
            task_name: "audio.mix".to_owned(),
            seq: 1,
            execution: "e".repeat(32),
            worker_id: "w".to_owned(),
            input_ref: "r".to_owned(),
            link: "l".to_owned(),
        };
        AttemptMarker::new(&stamp, "repository", 5)
    }

    #[test]
    fn a_directory_is_found_by_its_marker_whatever_the_body_did() {
        let root = tempfile::tempdir().unwrap();
        let attempt = AttemptDirectory::create(root.path(), &marker()).unwrap();
        assert!(AttemptDirectory::create(root.path(), &marker()).is_err(), "it must not exist");
        std::fs::write(attempt.files().join(MARKER_FILE), "{}").unwrap();
        std::fs::remove_dir_all(attempt.files()).unwrap();
        std::fs::create_dir(root.path().join("somebody's")).unwrap();
        let found = attempt_directories(root.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].marker, marker());
        assert_eq!(
            found[0].place.file_name().unwrap().to_str().unwrap(),
            format!("task_id=t_1-exec={}", "e".repeat(32))
        );
        attempt.remove().unwrap();
        attempt.remove().unwrap();
        assert!(attempt_directories(root.path()).unwrap().is_empty());
        assert!(attempt_directories(&root.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn locked_directories_and_links_are_removed_without_leaving() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        let attempt = AttemptDirectory::create(root.path(), &marker()).unwrap();
        let locked = attempt.files().join("locked/inner");
        std::fs::create_dir_all(&locked).unwrap();
        std::fs::write(locked.join("x"), "x").unwrap();
        symlink(outside.path(), attempt.files().join("link")).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        // A privileged user passes over permissions, so this path is taken on its own too.
        make_writable(&attempt.place).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        attempt.remove().unwrap();
        assert!(std::fs::read_dir(root.path()).unwrap().next().is_none());
        assert!(outside.path().join("kept").exists());
    }
}
