//! The local directory of one attempt, from its making to its end.
//!
//! `<root>/task_id=…-exec=…/` holds the marker, which says whose it is, and beside it `files/`, which the body sees. A
//! body can empty its directory without making the attempt's one unrecognisable. The marker is locked for as long as the
//! supervisor of the attempt lives, so that a free lock shows that nobody works there any more.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};

use crate::error::WorkspaceError;
use crate::path::MARKER_FILE;
use crate::stamp::{Epoch, Stamp, Work};

const FILES: &str = "files";
const NAME_START: &str = "task_id=";
/// A marker of ours is far shorter.
const LONGEST_MARKER_BYTES: u64 = 64 << 10;

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
    /// Within what the lock on the marker is seen; none where that cannot be told.
    #[serde(default)]
    pub lock_scope: Option<String>,
}

impl AttemptMarker {
    /// The marker of an attempt that begins now, in this process; where it is locked is filled in with its directory.
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
            lock_scope: None,
        }
    }

    fn directory_name(&self) -> String {
        format!("{NAME_START}{}-exec={}", safe(&self.task_id), safe(&self.execution_id))
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
    /// Open and locked until the attempt is over or its supervisor dies.
    _marker: File,
}

impl AttemptDirectory {
    /// Makes the directory of an attempt below the workspace root.
    ///
    /// # Errors
    /// It exists already, or what the system says.
    pub fn create(root: &Path, marker: &AttemptMarker) -> Result<Self, WorkspaceError> {
        let place = root.join(marker.directory_name());
        let failed = |error| WorkspaceError::local("make", place.display(), error);
        spread(root);
        std::fs::DirBuilder::new().mode(0o755).create(&place).map_err(failed)?;
        match fill(&place, marker) {
            Ok(marker) => Ok(Self { place, _marker: marker }),
            Err(error) => {
                // Without its marker it would be nobody's.
                let _ = remove_attempt(&place);
                Err(failed(error))
            }
        }
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
        remove_attempt(&self.place)
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

fn fill(place: &Path, marker: &AttemptMarker) -> io::Result<File> {
    let marker = AttemptMarker { lock_scope: lock_scope(place), ..marker.clone() };
    let text = serde_json::to_vec(&marker).map_err(io::Error::other)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(place.join(MARKER_FILE))?;
    // Before the content: a marker that can be read and is not locked belongs to nobody.
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    file.write_all(&text)?;
    std::fs::create_dir(place.join(FILES))?;
    Ok(file)
}

/// Names the processes that see each other's locks for certain: those of one running kernel, on one mounted file system.
/// Another machine, or another mount of a shared store, need not see them.
pub(crate) fn lock_scope(place: &Path) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let device = std::fs::metadata(place).ok()?.dev();
    Some(format!("{} {device}", boot.trim()))
}

/// A directory below a workspace root that bears the name of an attempt.
#[derive(Debug)]
pub struct FoundDirectory {
    /// Where it is.
    pub place: PathBuf,
    /// Whose it is, where that can be read.
    pub marker: Option<AttemptMarker>,
    /// Whether a process works in it.
    pub is_running: bool,
    /// Whether every process that may have worked in it is gone for certain.
    pub is_abandoned: bool,
    // Nobody else takes it for dead while we look at it.
    _lock: Option<File>,
}

impl FoundDirectory {
    /// Looks at a directory; none if it does not bear the name of an attempt or has gone.
    ///
    /// Blocks on the file system.
    pub fn inspect(place: &Path) -> Option<Self> {
        let name = place.file_name()?.to_str()?;
        let is_directory = std::fs::symlink_metadata(place).is_ok_and(|found| found.is_dir());
        if !is_directory || !name.starts_with(NAME_START) {
            return None;
        }
        let unread = Self {
            place: place.to_owned(),
            marker: None,
            is_running: false,
            is_abandoned: false,
            _lock: None,
        };
        // A body of bad will may have put a link or a pipe in the marker's place. Some network file systems lock only
        // what is open for writing.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let Ok(mut file) =
            File::options().read(true).write(true).custom_flags(flags).open(place.join(MARKER_FILE))
        else {
            return place.exists().then_some(unread);
        };
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        let mut text = Vec::new();
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        let is_read = is_file && (&mut file).take(LONGEST_MARKER_BYTES).read_to_end(&mut text).is_ok();
        let marker = is_read.then(|| serde_json::from_slice::<AttemptMarker>(&text).ok()).flatten();
        // A copy that somebody has put aside is not the attempt's.
        let marker = marker.filter(|marker| marker.directory_name() == name);
        let is_running = locked == Err(rustix::io::Errno::WOULDBLOCK);
        let scope = marker.as_ref().and_then(|marker| marker.lock_scope.as_ref());
        let is_abandoned = locked.is_ok() && scope.is_some() && scope == lock_scope(place).as_ref();
        Some(Self { marker, is_running, is_abandoned, _lock: locked.is_ok().then_some(file), ..unread })
    }

    /// Removes it with everything below it. Blocks on the file system.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(self) -> Result<(), WorkspaceError> {
        remove_attempt(&self.place)
    }
}

/// Lists what is below a workspace root and bears the name of an attempt, in the order of names.
///
/// # Errors
/// The root cannot be read; one that does not exist is empty.
pub fn attempt_directories(root: &Path) -> Result<Vec<PathBuf>, WorkspaceError> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| WorkspaceError::local("read", root.display(), error))?,
    };
    let is_ours = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(NAME_START))
    };
    let mut found: Vec<PathBuf> = entries.flatten().filter(is_ours).map(|entry| entry.path()).collect();
    found.sort();
    Ok(found)
}

// The marker goes last: a removal that is cut short can be found again.
fn remove_attempt(place: &Path) -> Result<(), WorkspaceError> {
    let _ = remove_tree(&place.join(FILES));
    remove_tree(place)
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
    use crate::stamp::Basis;

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
            basis: Basis::default(),
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
        assert_eq!(found, [root.path().join(format!("task_id=t_1-exec={}", "e".repeat(32)))]);
        let seen = FoundDirectory::inspect(&found[0]).unwrap();
        let scope = lock_scope(root.path());
        assert_eq!(seen.marker.as_ref(), Some(&AttemptMarker { lock_scope: scope, ..marker() }));
        assert!(seen.is_running && !seen.is_abandoned);
        attempt.remove().unwrap();
        attempt.remove().unwrap();
        assert!(attempt_directories(root.path()).unwrap().is_empty());
        assert!(attempt_directories(&root.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn a_free_lock_shows_that_nobody_works_there() {
        let root = tempfile::tempdir().unwrap();
        let place = AttemptDirectory::create(root.path(), &marker()).unwrap().place.clone();
        let seen = FoundDirectory::inspect(&place).unwrap();
        assert!(seen.is_abandoned && !seen.is_running);
        assert!(!FoundDirectory::inspect(&place).unwrap().is_abandoned, "one look at a time");
        drop(seen);
        for scope in [None, Some("another-boot 1".to_owned())] {
            let elsewhere = AttemptMarker { lock_scope: scope, ..marker() };
            std::fs::write(place.join(MARKER_FILE), serde_json::to_vec(&elsewhere).unwrap()).unwrap();
            let seen = FoundDirectory::inspect(&place).unwrap();
            assert!(!seen.is_abandoned && !seen.is_running, "a lock taken there is not seen here");
        }
    }

    #[test]
    fn what_bears_the_name_alone_belongs_to_nobody() {
        let root = tempfile::tempdir().unwrap();
        let place = AttemptDirectory::create(root.path(), &marker()).unwrap().place.clone();
        let copy = root.path().join("task_id=copy");
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(place.join(MARKER_FILE), copy.join(MARKER_FILE)).unwrap();
        assert_eq!(FoundDirectory::inspect(&copy).unwrap().marker, None);
        let in_the_marker_s_place: [fn(&Path); 4] = [
            |path| std::fs::write(path, r#"{"owner_token": "of another version"}"#).unwrap(),
            |path| symlink("/dev/zero", path).unwrap(),
            |path| {
                let mode = rustix::fs::Mode::RWXU;
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            },
            |path| std::fs::create_dir(path).unwrap(),
        ];
        for put in in_the_marker_s_place {
            std::fs::remove_file(copy.join(MARKER_FILE)).unwrap();
            put(&copy.join(MARKER_FILE));
            let seen = FoundDirectory::inspect(&copy).unwrap();
            assert!(seen.marker.is_none() && !seen.is_running && !seen.is_abandoned);
        }
        let link = root.path().join("task_id=link");
        symlink(&place, &link).unwrap();
        assert!(FoundDirectory::inspect(&link).is_none());
        assert!(FoundDirectory::inspect(&root.path().join("task_id=gone")).is_none());
    }

    #[test]
    fn a_removal_that_was_cut_short_can_be_found_again() {
        let root = tempfile::tempdir().unwrap();
        let attempt = AttemptDirectory::create(root.path(), &marker()).unwrap();
        remove_tree(&attempt.files()).unwrap();
        let place = attempt.place.clone();
        drop(attempt);
        let seen = FoundDirectory::inspect(&place).unwrap();
        assert!(seen.is_abandoned);
        seen.remove().unwrap();
        assert!(!place.exists());
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
