//! The directory of one run of a command: it goes with the command, or is found by its lock when that was killed.
//!
//! Beside `perago-run-…` lies `.perago-run-….lock`, held until the command ends. A body may use the whole directory.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};

use crate::attempt_directory::{lock_scope, remove_tree};
use crate::blocking;
use crate::error::WorkspaceError;
use crate::garbage::{CollectOptions, Collected, Garbage, Keep, Outcome};

const NAME_START: &str = "perago-run-";
const LOCK_END: &str = ".lock";
/// What a lock of ours says is far shorter.
const LONGEST_LOCK_BYTES: u64 = 4 << 10;

/// What stands in a lock.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    /// Within what it is seen; none where that cannot be told.
    lock_scope: Option<String>,
    /// When it was taken, in seconds since the epoch.
    started_at: i64,
}

/// A directory that is removed when this goes, unless it is kept.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    lock: PathBuf,
    /// Open and locked until the command ends, however that happens.
    _held: File,
    is_kept: bool,
}

impl RunDirectory {
    /// Makes a directory below `root`, which is made if it is missing. `now` is in seconds since the epoch.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(root: &Path, now: i64) -> Result<Self, WorkspaceError> {
        let name = format!("{NAME_START}{:012x}", fastrand::u64(..1 << 48));
        let (path, lock) = (root.join(&name), root.join(format!(".{name}{LOCK_END}")));
        let failed = |error| WorkspaceError::local("make a directory in", root.display(), error);
        std::fs::create_dir_all(root).map_err(failed)?;
        let held = take(&lock, now).map_err(failed)?;
        // From here on it is removed again, also if it was not made.
        let this = Self { path, lock, _held: held, is_kept: false };
        DirBuilder::new().mode(0o700).create(&this.path).map_err(failed)?;
        Ok(this)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Leaves it to whoever asked for it: nothing but a person removes it from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(&mut self) -> Result<(), WorkspaceError> {
        remove_lock(&self.lock)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure, and by its lock it is found later.
        if !self.is_kept {
            let _ = remove_tree(&self.path).and_then(|()| remove_lock(&self.lock));
        }
    }
}

fn take(lock: &Path, now: i64) -> io::Result<File> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(lock)?;
    // Before the content: a lock that can be read and is not held belongs to nobody.
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    let owner = Owner { lock_scope: lock_scope(lock), started_at: now };
    file.write_all(&serde_json::to_vec(&owner).map_err(io::Error::other)?)?;
    Ok(file)
}

fn remove_lock(lock: &Path) -> Result<(), WorkspaceError> {
    std::fs::remove_file(lock).map_err(|error| WorkspaceError::local("remove", lock.display(), error))
}

/// Removes the directories of dead commands in `root` that are as old as what abandoned directories of attempts must be.
///
/// # Errors
/// The root cannot be read; one that does not exist is empty.
pub async fn collect_run_directories(
    root: &Path,
    options: &CollectOptions,
) -> Result<Vec<Collected>, WorkspaceError> {
    let (root, options) = (root.to_owned(), options.clone());
    blocking(move || {
        let entries = match std::fs::read_dir(&root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| WorkspaceError::local("read", root.display(), error))?,
        };
        let mut places: Vec<PathBuf> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let name = name.strip_prefix('.')?.strip_suffix(LOCK_END)?;
                name.starts_with(NAME_START).then(|| root.join(name))
            })
            .collect();
        places.sort();
        Ok(places.into_iter().filter_map(|place| look(place, &options)).collect())
    })
    .await
}

/// `None` for what is not ours to judge.
fn look(place: PathBuf, options: &CollectOptions) -> Option<Collected> {
    let lock = place.with_file_name(format!(".{}{LOCK_END}", place.file_name()?.to_str()?));
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = File::options().read(true).write(true).custom_flags(flags).open(&lock).ok()?;
    let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    let mut text = Vec::new();
    (&mut file).take(LONGEST_LOCK_BYTES).read_to_end(&mut text).ok()?;
    let owner: Owner = serde_json::from_slice(&text).ok()?;
    let outcome = match locked {
        Err(_) => Outcome::Kept(Keep::Running),
        Ok(()) if owner.lock_scope.is_none() || owner.lock_scope != lock_scope(&lock) => {
            Outcome::Kept(Keep::Elsewhere)
        }
        Ok(()) if !options.is_old(owner.started_at, options.abandoned_older_than) => {
            Outcome::Kept(Keep::Young)
        }
        Ok(()) if options.is_dry_run => Outcome::Removed,
        // The lock goes last: a removal that is cut short can be found again.
        Ok(()) => match remove_tree(&place).and_then(|()| remove_lock(&lock)) {
            Ok(()) => Outcome::Removed,
            Err(error) => Outcome::Failed(error),
        },
    };
    Some(Collected { garbage: Garbage::Directory { place, marker: None }, outcome })
}

#[cfg(test)]
#[expect(clippy::used_underscore_binding, reason = "a test does what the kernel does when the owner dies")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn options(now: i64, is_dry_run: bool) -> CollectOptions {
        let age = Duration::from_secs(60);
        CollectOptions {
            conductor: "c".to_owned(),
            older_than: age,
            abandoned_older_than: age,
            now,
            is_dry_run,
        }
    }

    async fn outcomes(root: &Path, options: CollectOptions) -> Vec<String> {
        let collected = collect_run_directories(root, &options).await.unwrap();
        collected.iter().map(|entry| format!("{:?}", entry.outcome)).collect()
    }

    fn names(root: &Path) -> usize {
        std::fs::read_dir(root).unwrap().count()
    }

    #[tokio::test]
    async fn the_directory_of_a_dead_command_is_removed_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let killed = RunDirectory::create(root.path(), 100).unwrap();
        std::fs::write(killed.path().join("large"), "x").unwrap();
        std::fs::create_dir(root.path().join("perago-run-of-somebody")).unwrap();
        assert_eq!(outcomes(root.path(), options(1000, false)).await, ["Kept(Running)"]);
        // As the kernel frees the lock when the process dies.
        rustix::fs::flock(&killed._held, FlockOperation::Unlock).unwrap();
        assert_eq!(outcomes(root.path(), options(159, false)).await, ["Kept(Young)"]);
        assert_eq!(outcomes(root.path(), options(160, true)).await, ["Removed"]);
        assert!(killed.path().exists());
        assert_eq!(outcomes(root.path(), options(160, false)).await, ["Removed"]);
        assert!(!killed.path().exists() && !killed.lock.exists());
        assert_eq!(names(root.path()), 1);
        assert!(outcomes(&root.path().join("missing"), options(160, false)).await.is_empty());
    }

    #[tokio::test]
    async fn a_lock_that_was_taken_elsewhere_or_says_nothing_proves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let killed = RunDirectory::create(root.path(), 100).unwrap();
        rustix::fs::flock(&killed._held, FlockOperation::Unlock).unwrap();
        for scope in ["null", "\"another-boot 1\""] {
            let text = format!("{{\"lock_scope\": {scope}, \"started_at\": 100}}");
            std::fs::write(&killed.lock, text).unwrap();
            assert_eq!(outcomes(root.path(), options(1000, false)).await, ["Kept(Elsewhere)"]);
        }
        std::fs::write(&killed.lock, "").unwrap();
        assert!(outcomes(root.path(), options(1000, false)).await.is_empty());
        assert!(killed.path().exists());
    }

    #[test]
    fn it_goes_with_its_owner_unless_it_is_kept() {
        let root = tempfile::tempdir().unwrap();
        drop(RunDirectory::create(root.path(), 1).unwrap());
        assert_eq!(names(root.path()), 0);
        let mut kept = RunDirectory::create(root.path(), 1).unwrap();
        kept.keep().unwrap();
        let path = kept.path().to_owned();
        drop(kept);
        assert!(path.exists());
        assert_eq!(names(root.path()), 1, "no lock is left");
    }
}
