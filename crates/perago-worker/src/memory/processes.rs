//! What executors use, with everything that they have started.

use std::collections::HashMap;
use std::fs;

use crate::guardian::processes;

/// A live executor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Executor {
    /// The guardian's number for it.
    pub(crate) token: u64,
    /// Its process id.
    pub(crate) pid: i32,
}

/// The bytes of memory, resident or swapped out, that each executor and what it has started use, by token.
///
/// A page that several processes share is counted by its share (`Pss` of `proc(5)`): the workers of a
/// `multiprocessing` pool share most of theirs. That costs the kernel a walk over all pages. What lies at or below
/// `roughly` when every shared page is counted in full is given so.
pub(crate) fn used_by(guardian: i32, executors: &[Executor], roughly: u64) -> HashMap<u64, u64> {
    let trees = trees(guardian, executors);
    trees
        .into_iter()
        .map(|(token, pids)| {
            let rough: u64 = pids.iter().map(|pid| resident(*pid)).sum();
            let is_enough = rough <= roughly;
            (token, if is_enough { rough } else { pids.iter().map(|pid| proportional(*pid)).sum() })
        })
        .collect()
}

/// The processes of each executor: its descendants, and orphans that carry its token.
fn trees(guardian: i32, executors: &[Executor]) -> HashMap<u64, Vec<i32>> {
    let parents = processes::parents();
    let mut trees: HashMap<u64, Vec<i32>> = HashMap::new();
    for pid in parents.keys().copied() {
        let mut at = pid;
        loop {
            if let Some(executor) = executors.iter().find(|executor| executor.pid == at) {
                trees.entry(executor.token).or_default().push(pid);
                break;
            }
            match parents.get(&at) {
                Some(&parent) if parent == guardian => {
                    // `at` has lost its parent; what is below it goes with it.
                    let owner =
                        executors.iter().find(|executor| processes::is_started_by(at, executor.token));
                    if let Some(executor) = owner {
                        trees.entry(executor.token).or_default().push(pid);
                    }
                    break;
                }
                // Zero is nobody: neither the first process's parent nor an executor.
                Some(0) | None => break,
                Some(&parent) => at = parent,
            }
        }
    }
    trees
}

/// Resident and swapped-out bytes, shared pages in full.
fn resident(pid: i32) -> u64 {
    sum_of(&format!("/proc/{pid}/status"), &["VmRSS:", "VmSwap:"]).unwrap_or(0)
}

/// The same with shared pages by their share, where the kernel says it.
fn proportional(pid: i32) -> u64 {
    sum_of(&format!("/proc/{pid}/smaps_rollup"), &["Pss:", "SwapPss:"]).unwrap_or_else(|| resident(pid))
}

/// The sum of fields in KiB; `None` when the file does not have the first.
fn sum_of(path: &str, fields: &[&str]) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let field = |name: &&str| {
        let value = text.lines().find_map(|line| line.strip_prefix(*name))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let first = fields.first().and_then(field)?;
    Some((first + fields.iter().skip(1).filter_map(field).sum::<u64>()) * 1024)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that holds 30 MB and starts a program in a session of its own.
    fn start(token: u64) -> Child {
        let script = "held=$(head -c 30000000 /dev/zero | tr '\\0' x); setsid sleep 600 & echo; wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]).env(processes::TOKEN_VARIABLE, token.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        child
    }

    #[test]
    fn an_executor_is_counted_with_what_it_has_started() {
        let mut children = [start(7), start(8)];
        let executors = [7, 8].map(|token| Executor { token, pid: children[token as usize - 7].id() as i32 });
        let us = std::process::id() as i32;
        // In this order: a shell's copy of itself, which becomes a program in between, makes the memory less.
        let rough = used_by(us, &executors, u64::MAX);
        let used = used_by(us, &executors, 0);
        // Without its executor, a program belongs to the token in its environment.
        let orphans = used_by(us, &[Executor { token: 7, pid: 0 }], u64::MAX);
        let trees = trees(us, &executors);
        for executor in &executors {
            processes::kill_all(&trees[&executor.token]);
        }
        for child in &mut children {
            child.wait().unwrap();
        }
        for token in [7, 8] {
            assert!((30_000_000..100_000_000).contains(&used[&token]), "{used:?}");
            assert!(used[&token] <= rough[&token], "{used:?} {rough:?}");
            assert!(trees[&token].len() >= 2, "{trees:?}");
        }
        assert_eq!(orphans.len(), 1, "{orphans:?}");
        assert!((30_000_000..100_000_000).contains(&orphans[&7]), "{orphans:?}");
    }
}
