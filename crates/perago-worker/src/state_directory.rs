//! The folder that holds what outlives a supervisor, and the locks that keep it to one supervisor at a time.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::errno::Errno;
use serde_json::{Value, json};
use thiserror::Error;

/// The lock file of 0.6 under the workspace root; ours is the same file, so that both never run on one root.
pub const SUPERVISOR_LOCK: &str = ".perago-supervisor.lock";

const GUARDIAN_LOCK: &str = "guardian.lock";
const STATE_LOCK: &str = "supervisor.lock";
const PREDECESSOR_ENDS_WITHIN: Duration = Duration::from_secs(10);
/// For longer than a guardian needs to end everything.
const SUPERVISOR_SHOWS_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Why the state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// A live supervisor holds it.
    #[error("{} is already locked by supervisor pid {pid}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it.
        pid: String,
    },
    /// The processes of a dead supervisor are still there.
    #[error("executors of an earlier supervisor still run: {} is held", .0.display())]
    PredecessorRuns(PathBuf),
    /// The system refused.
    #[error("{} cannot be used: {reason}", path.display())]
    System {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
}

impl StateError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "stop that worker, or give this one its own PERAGO_WORKSPACE_ROOT",
            Self::PredecessorRuns(_) => "wait for them to end, or stop them",
            Self::System { .. } => "set PERAGO_STATE_DIR to a folder that this user can write",
        }
    }
}

/// A supervisor that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervisor {
    /// Its process id, as it sees it; none while that is not written yet.
    pub pid: Option<i32>,
    /// Since when, in milliseconds since the epoch.
    pub since: i64,
}

/// The locked state directory of one live supervisor.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    root_lock: LockFile,
    _state_lock: LockFile,
}

impl StateDirectory {
    /// Makes and locks the state directory at `path`, and the workspace root that it belongs to.
    ///
    /// # Errors
    /// [`StateError::Locked`] when another supervisor lives on either.
    pub fn open(path: &Path, workspace_root: &Path) -> Result<Self, StateError> {
        let system = |at: &Path| {
            let at = at.to_owned();
            move |reason| StateError::System { path: at, reason }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(system(path))?;
        fs::create_dir_all(workspace_root).map_err(system(workspace_root))?;
        let root_lock = LockFile::take(&workspace_root.join(SUPERVISOR_LOCK))?;
        let state_lock = LockFile::take(&path.join(STATE_LOCK))?;
        Ok(Self { path: path.to_owned(), root_lock, _state_lock: state_lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The supervisor that lives on the state directory at `path`; `None` when none lives. Waits for a moment where one is just starting or has just died.
    pub fn supervisor_of(path: &Path) -> Option<Supervisor> {
        let path = path.join(STATE_LOCK);
        let deadline = Instant::now() + SUPERVISOR_SHOWS_WITHIN;
        loop {
            let mut file = File::open(&path).ok()?;
            // Taken for a moment, which a supervisor that is about to start waits out.
            if lock(&file).unwrap_or(true) {
                return None;
            }
            let mut content = String::new();
            let _ = file.read_to_string(&mut content);
            let holder: Value = serde_json::from_str(&content).unwrap_or_default();
            let pid = pid_of(&holder);
            // A new supervisor has the lock before its number is written; a dead one's guardian has it a little longer.
            // One that stays is in a container whose processes are not seen from here.
            if pid.is_some_and(is_running) || Instant::now() > deadline {
                let since = file.metadata().and_then(|found| found.modified()).unwrap_or(UNIX_EPOCH);
                let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                return Some(Supervisor { pid, since: i64::try_from(since).unwrap_or(i64::MAX) });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until no process of an earlier supervisor is left, and returns the lock for our own guardian to hold.
    ///
    /// # Errors
    /// [`StateError::PredecessorRuns`] after ten seconds.
    pub fn guardian_lock(&self) -> Result<File, StateError> {
        let path = self.path.join(GUARDIAN_LOCK);
        let system = |reason| StateError::System { path: path.clone(), reason };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(system)?;
        let deadline = Instant::now() + PREDECESSOR_ENDS_WITHIN;
        while !lock(&file).map_err(system)? {
            if Instant::now() > deadline {
                return Err(StateError::PredecessorRuns(path));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(file)
    }
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        // Only this file is removed: 0.6 takes its mere presence for a live supervisor of that process id.
        self.root_lock.remove();
    }
}

/// A file that is locked for as long as this value, and its copies in forked children, live.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    fn take(path: &Path) -> Result<Self, StateError> {
        let system = |reason| StateError::System { path: path.to_owned(), reason };
        let deadline = Instant::now() + PREDECESSOR_ENDS_WITHIN;
        loop {
            let mut file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)
                .map_err(system)?;
            let locked = lock(&file).map_err(system)?;
            let mut content = String::new();
            let _ = file.read_to_string(&mut content);
            let holder: Value = serde_json::from_str(&content).unwrap_or(Value::Null);
            // A dead supervisor's lock is held by its guardian until nothing of it is left: a matter of milliseconds.
            if !locked && pid_of(&holder).is_none_or(|pid| !is_running(pid)) && Instant::now() < deadline {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            if !locked || holder_lives_without_lock(&holder) {
                let pid = holder["supervisor_pid"].to_string();
                return Err(StateError::Locked { path: path.to_owned(), pid });
            }
            if !is_still(path, &file) {
                continue;
            }
            let mine = json!({ "supervisor_pid": std::process::id(), "advisory_lock": true });
            file.set_len(0).map_err(system)?;
            file.rewind().map_err(system)?;
            writeln!(file, "{mine}").map_err(system)?;
            return Ok(Self { path: path.to_owned(), file });
        }
    }

    fn remove(&self) {
        if is_still(&self.path, &self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a supervisor of 0.6, which takes no advisory lock, wrote the file and its process still runs. In a container
/// every supervisor may have the same process id: ours does not show that another one lives.
fn holder_lives_without_lock(holder: &Value) -> bool {
    let is_other = |pid: i32| u32::try_from(pid) != Ok(std::process::id());
    holder["advisory_lock"] != Value::Bool(true)
        && pid_of(holder).is_some_and(|pid| is_other(pid) && is_running(pid))
}

fn pid_of(holder: &Value) -> Option<i32> {
    holder["supervisor_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0)
}

/// Whether a process runs; one that is dead but not collected by its parent does not (`proc(5)`, field `state`).
fn is_running(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_none_or(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => !matches!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None), Err(Errno::ESRCH)),
    }
}

/// Takes the advisory lock without waiting; `false` when another process holds it.
fn lock(file: &File) -> io::Result<bool> {
    // SAFETY: the descriptor is open for the whole call.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
            error => Err(error),
        },
    }
}

/// Whether `path` still names the file that is open, and not one that was put in its place.
fn is_still(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn open(root: &Path) -> Result<StateDirectory, StateError> {
        StateDirectory::open(&root.join("state"), &root.join("workspaces"))
    }

    #[test]
    fn one_supervisor_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = open(root.path()).unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("supervisor pid {}", std::process::id())), "{error}");
        let state = root.path().join("state");
        let seen = StateDirectory::supervisor_of(&state).unwrap();
        assert_eq!(seen.pid, Some(std::process::id().cast_signed()));
        assert!((crate::outbox::now() - seen.since).abs() < 60_000, "{seen:?}");
        drop(first);
        assert_eq!(StateDirectory::supervisor_of(&state), None);
        assert_eq!(StateDirectory::supervisor_of(&root.path().join("absent")), None);
        assert!(!root.path().join("workspaces").join(SUPERVISOR_LOCK).exists());
        let again = open(root.path()).unwrap();
        assert_eq!(fs::metadata(again.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_lock_without_the_number_of_a_process_is_no_dead_supervisor() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(STATE_LOCK);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = format!("{{\"supervisor_pid\": {}}}\n", child.id());
        for (content, shown) in [("", None), (&dead, Some(child.id().cast_signed()))] {
            fs::write(&path, content).unwrap();
            let held = File::open(&path).unwrap();
            assert!(lock(&held).unwrap());
            let seen = StateDirectory::supervisor_of(root.path()).expect("the lock is held");
            assert_eq!(seen.pid, shown);
            let ends = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                drop(held);
            });
            assert_eq!(StateDirectory::supervisor_of(root.path()), None, "its guardian has ended");
            ends.join().unwrap();
        }
    }

    #[test]
    fn a_live_supervisor_of_0_6_is_respected_and_a_dead_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("workspaces").join(SUPERVISOR_LOCK);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(&file, format!("{{\"supervisor_pid\": {}}}\n", child.id())).unwrap();
        let refused = open(root.path());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(refused, Err(StateError::Locked { .. })), "{refused:?}");
        open(root.path()).unwrap();
        // As the first process of a container that was killed, and of the next one.
        fs::write(&file, format!("{{\"supervisor_pid\": {}}}\n", std::process::id())).unwrap();
        open(root.path()).unwrap();
    }

    #[test]
    fn a_damaged_lock_file_locks_nobody_out() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("workspaces").join(SUPERVISOR_LOCK);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "not json").unwrap();
        open(root.path()).unwrap();
    }
}
