//! Whether the disk of the state directory can take what an attempt may leave there: no work is taken otherwise.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_blocking, spawn_local};

use crate::logs::{Level, Logger, Record};

/// Below this many free bytes no task is polled.
const LEAST_FREE_BYTES: u64 = 16 << 20;

/// From this many on tasks are polled again; the distance keeps a disk at the limit from switching all the time.
const ENOUGH_FREE_BYTES: u64 = 24 << 20;

/// Quotas, and file systems that promise more than they hold, show in a file that is really allocated.
const PROBE_BYTES: libc::off_t = 64 << 10;
const PROBE_FILE: &str = "space-probe";

const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A cheap handle to what is known of the disk.
#[derive(Debug, Clone)]
pub struct StateDisk(watch::Receiver<Known>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    has_space: bool,
    free_bytes: Option<u64>,
}

/// Ends the watching when dropped.
#[derive(Debug)]
pub struct Watcher(AbortHandle);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One look at the disk.
#[derive(Debug)]
struct Look {
    free_bytes: Option<u64>,
    /// Why nothing could be written.
    refusal: Option<io::Error>,
}

impl StateDisk {
    /// Looks at the disk of `directory`, and goes on looking until the watcher is dropped. Needs a `LocalSet`.
    pub async fn watch(directory: &Path, logger: &Logger) -> (Self, Watcher) {
        let (sender, receiver) = watch::channel(Known { has_space: true, free_bytes: None });
        let (directory, logger) = (directory.to_owned(), logger.clone());
        look_and_tell(&directory, &sender, &logger).await;
        let watcher = spawn_local(async move {
            loop {
                let has_space = sender.borrow().has_space;
                tokio::time::sleep(if has_space { LOOK_EVERY } else { LOOK_AGAIN_AFTER }).await;
                look_and_tell(&directory, &sender, &logger).await;
            }
        });
        (Self(receiver), Watcher(watcher.abort_handle()))
    }

    /// Whether there was space at the last look.
    pub fn has_space(&self) -> bool {
        self.0.borrow().has_space
    }

    /// Waits until there is space; returns at once while there is.
    pub async fn space(&self) {
        let mut known = self.0.clone();
        // The watcher ends with the worker, and with it the reason to wait.
        let _ = known.wait_for(|known| known.has_space).await;
    }

    /// A disk with so much space, which does not change.
    #[cfg(test)]
    pub(crate) fn of(free_bytes: Option<u64>) -> Self {
        Self(watch::channel(Known { has_space: true, free_bytes }).1)
    }

    /// Bytes that this user may still write, as of the last look.
    pub fn free_bytes(&self) -> Option<u64> {
        self.0.borrow().free_bytes
    }
}

async fn look_and_tell(directory: &Path, sender: &watch::Sender<Known>, logger: &Logger) {
    let directory = directory.to_owned();
    let shown = directory.display().to_string();
    // A slow disk must not hold the supervisor's only thread.
    let Ok(look) = spawn_blocking(move || look(&directory)).await else { return };
    let before = sender.borrow().has_space;
    let has_space = look.has_space(before);
    if before && !has_space {
        let message =
            "the disk of the state directory is full or cannot be written; no task is polled until it can";
        logger.write(
            Record::new(Level::Error, "state_disk_full", message)
                .with("path", shown)
                .with_some("free_bytes", look.free_bytes)
                .with_some("reason", look.refusal.as_ref().map(io::Error::to_string)),
        );
    } else if !before && has_space {
        let message = "the disk of the state directory has space again; polling goes on";
        logger.write(
            Record::new(Level::Info, "state_disk_recovered", message)
                .with("path", shown)
                .with_some("free_bytes", look.free_bytes),
        );
    }
    sender.send_replace(Known { has_space, free_bytes: look.free_bytes });
}

impl Look {
    fn has_space(&self, had_space: bool) -> bool {
        let needed = if had_space { LEAST_FREE_BYTES } else { ENOUGH_FREE_BYTES };
        self.refusal.is_none() && self.free_bytes.is_none_or(|bytes| bytes >= needed)
    }
}

fn look(directory: &Path) -> Look {
    let free_bytes = statvfs(directory)
        .ok()
        // A file system without a size, such as some in user space, does not say what is left.
        .filter(|disk| disk.blocks() > 0)
        .map(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
    let probe = directory.join(PROBE_FILE);
    let refusal = allocate(&probe).err();
    // Left behind it costs 64 KiB, and the next look removes it.
    let _ = fs::remove_file(&probe);
    Look { free_bytes, refusal }
}

fn allocate(probe: &Path) -> io::Result<()> {
    let file = File::options().write(true).create(true).truncate(true).open(probe)?;
    // SAFETY: a plain call on an open descriptor.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, PROBE_BYTES) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(free_bytes: Option<u64>, refusal: Option<i32>, had_space: bool) -> bool {
        Look { free_bytes, refusal: refusal.map(io::Error::from_raw_os_error) }.has_space(had_space)
    }

    #[test]
    fn a_disk_at_the_limit_does_not_switch_back_at_once() {
        assert!(sees(Some(LEAST_FREE_BYTES), None, true));
        assert!(!sees(Some(LEAST_FREE_BYTES - 1), None, true));
        assert!(!sees(Some(LEAST_FREE_BYTES), None, false));
        assert!(sees(Some(ENOUGH_FREE_BYTES), None, false));
    }

    #[test]
    fn what_cannot_be_written_is_full_whatever_it_promises() {
        for reason in [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::EIO] {
            assert!(!sees(Some(u64::MAX), Some(reason), true));
        }
        assert!(sees(None, None, true), "a file system that does not say is taken at its deeds");
    }

    #[test]
    fn a_look_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let seen = look(directory.path());
        assert!(seen.refusal.is_none() && seen.free_bytes.is_some_and(|bytes| bytes > 0), "{seen:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let absent = look(&directory.path().join("absent"));
        assert!(absent.refusal.is_some() && absent.free_bytes.is_none());
    }
}
