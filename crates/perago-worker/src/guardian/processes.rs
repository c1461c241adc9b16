//! Other processes, read from `/proc`: whose descendants they are, and which executor started them.

use std::collections::HashMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Names the executor to every program that its bodies start: a program that has left the executor's process group
/// and session is known by it.
pub(crate) const TOKEN_VARIABLE: &str = "PERAGO_EXECUTOR_TOKEN";

/// A program that forks while it is being killed is met by the next look.
const LOOKS: u32 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The process ids of all live descendants of `ancestor`.
pub(super) fn below(ancestor: i32) -> Vec<i32> {
    let parents = parents();
    let is_below = |mut pid: i32| {
        while let Some(&parent) = parents.get(&pid) {
            if parent == ancestor {
                return true;
            }
            pid = parent;
        }
        false
    };
    parents.keys().copied().filter(|&pid| is_below(pid)).collect()
}

/// Sends SIGKILL to each process.
pub(crate) fn kill_all(pids: &[i32]) {
    for &pid in pids {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Kills everything below this process that the executor with this token started, wherever it has gone. The
/// executor itself has its token too.
pub(super) fn kill_started_by(token: u64) {
    let wanted = format!("{TOKEN_VARIABLE}={token}");
    for _ in 0..LOOKS {
        let mut left = below(std::process::id() as i32);
        left.retain(|&pid| has_in_environment(pid, wanted.as_bytes()));
        if left.is_empty() {
            return;
        }
        kill_all(&left);
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether the executor with this process id and token has started something that still lives, wherever it has gone.
pub(super) fn has_started(executor: i32, token: u64) -> bool {
    let wanted = format!("{TOKEN_VARIABLE}={token}");
    below(executor).into_iter().any(is_alive)
        || below(std::process::id() as i32)
            .into_iter()
            .any(|pid| pid != executor && has_in_environment(pid, wanted.as_bytes()))
}

/// Whether a live process was started below the executor with this token.
pub(crate) fn is_started_by(pid: i32, token: u64) -> bool {
    has_in_environment(pid, format!("{TOKEN_VARIABLE}={token}").as_bytes())
}

/// Whether a process has not ended. What has ended stays visible until it is waited for.
fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
    })
}

/// Whether a live process was started with this variable. A process that has ended has no environment.
fn has_in_environment(pid: i32, wanted: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|variable| variable == wanted))
}

/// The parent of every live process.
pub(crate) fn parents() -> HashMap<i32, i32> {
    let mut parents = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some(parent) = parent_of(pid) {
            parents.insert(pid, parent);
        }
    }
    parents
}

/// The parent in `/proc/PID/stat`: the second field after the command's closing parenthesis (`proc(5)`).
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
