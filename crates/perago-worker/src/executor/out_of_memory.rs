//! Evidence that the kernel killed a process because memory ran out: the counter of such kills that the cgroup of this
//! process and of everything below it keeps.

use std::cell::Cell;
use std::fs::File;

use crate::memory::cgroup::{MemoryCgroup, kills_in};

/// The kills in one cgroup.
#[derive(Debug, Default)]
pub struct OutOfMemoryKills {
    /// Held open: it is read before every body.
    counter: Option<File>,
    /// Kills up to this count are known to have hit somebody.
    explained: Cell<u64>,
}

impl OutOfMemoryKills {
    /// The cgroup of this process. Where there is none, or its counter cannot be read, no kill is ever seen.
    pub fn of_this_process() -> Self {
        Self::of(MemoryCgroup::of_this_process())
    }

    fn of(cgroup: Option<MemoryCgroup>) -> Self {
        let counter = cgroup.and_then(|cgroup| cgroup.open_counter().ok());
        Self { counter, explained: Cell::new(0) }
    }

    /// How many kills there have been.
    pub fn count(&self) -> u64 {
        self.counter.as_ref().and_then(kills_in).unwrap_or(0)
    }

    /// Whether a kill since the count was `before` can be the reason of one death. Each kill is the reason of one only.
    pub fn explains_death(&self, before: u64) -> bool {
        let known = before.max(self.explained.get());
        let is_explained = self.count() > known;
        if is_explained {
            self.explained.set(known + 1);
        }
        is_explained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kill_is_the_reason_of_one_death() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.events");
        let events = |kills: u64| format!("low 0\nmax 9\noom 4\noom_kill {kills}\noom_group_kill 0\n");
        std::fs::write(&path, events(2)).unwrap();
        let kills = OutOfMemoryKills::of(MemoryCgroup::below(folder.path(), "0::/\n"));
        assert_eq!(kills.count(), 2);
        assert!(!kills.explains_death(2));
        std::fs::write(&path, events(4)).unwrap();
        assert!(kills.explains_death(2) && kills.explains_death(2) && !kills.explains_death(2));
        assert!(!kills.explains_death(4));
    }

    #[test]
    fn without_a_cgroup_nothing_is_seen() {
        let kills = OutOfMemoryKills::default();
        assert!(kills.count() == 0 && !kills.explains_death(0));
    }
}
