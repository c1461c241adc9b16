//! Evidence that the kernel killed a process because memory ran out: the counter of such kills that the cgroup of this
//! process and of everything below it keeps.
//!
//! Version 2 has it as `oom_kill` in `memory.events`, version 1 as `oom_kill` in `memory.oom_control` (the kernel's
//! documentation of both memory controllers).

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const COUNTER: &str = "oom_kill ";
/// Both files have a few short lines.
const LONGEST_FILE_BYTES: usize = 1024;

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
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::below(Path::new("/sys/fs/cgroup"), &cgroups)
    }

    fn below(mount: &Path, cgroups: &str) -> Self {
        Self { counter: open_counter(mount, cgroups), explained: Cell::new(0) }
    }

    /// How many kills there have been.
    pub fn count(&self) -> u64 {
        self.counter.as_ref().and_then(read).unwrap_or(0)
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

/// The counter in a file; `None` in a file that has none.
fn read(file: &File) -> Option<u64> {
    let mut content = [0; LONGEST_FILE_BYTES];
    let length = file.read_at(&mut content, 0).ok()?;
    let text = std::str::from_utf8(&content[..length]).ok()?;
    text.lines().find_map(|line| line.strip_prefix(COUNTER))?.trim().parse().ok()
}

/// Opens the file with the counter, by the lines of `/proc/self/cgroup` (`cgroups(7)`). In a container the path is often
/// that of the host, and what is mounted is the container's own cgroup.
fn open_counter(mount: &Path, cgroups: &str) -> Option<File> {
    let lines = || cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let first = |folder: &Path, path: &str, name: &str| {
        [folder.join(path.trim_start_matches('/')), folder.to_owned()]
            .into_iter()
            .filter_map(|folder| File::open(folder.join(name)).ok())
            .find(|file| read(file).is_some())
    };
    lines()
        .find(|(controllers, _)| controllers.split(',').any(|controller| controller == "memory"))
        .and_then(|(_, path)| first(&mount.join("memory"), path, "memory.oom_control"))
        .or_else(|| {
            let (_, path) = lines().find(|(controllers, _)| controllers.is_empty())?;
            first(mount, path, "memory.events")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(mount: &Path, name: &str, text: &str) {
        let path = mount.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn each_kill_is_the_reason_of_one_death() {
        let folder = tempfile::tempdir().unwrap();
        let events = |kills: u64| format!("low 0\nmax 9\noom 4\noom_kill {kills}\noom_group_kill 0\n");
        write(folder.path(), "a/b/memory.events", &events(2));
        let kills = OutOfMemoryKills::below(folder.path(), "0::/a/b\n");
        assert_eq!(kills.count(), 2);
        assert!(!kills.explains_death(2));
        write(folder.path(), "a/b/memory.events", &events(4));
        assert!(kills.explains_death(2) && kills.explains_death(2) && !kills.explains_death(2));
        assert!(!kills.explains_death(4));
    }

    #[test]
    fn version_one_is_read_where_it_has_the_memory_controller() {
        let folder = tempfile::tempdir().unwrap();
        let cgroups = "5:devices:/x\n4:cpu,memory:/host/path\n0::/\n";
        assert_eq!(OutOfMemoryKills::below(folder.path(), cgroups).count(), 0);
        write(folder.path(), "memory.events", "oom_kill 9\n");
        assert_eq!(OutOfMemoryKills::below(folder.path(), cgroups).count(), 9);
        // The container's own cgroup is mounted without the path that the host knows it by.
        write(folder.path(), "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        assert_eq!(OutOfMemoryKills::below(folder.path(), cgroups).count(), 3);
        write(folder.path(), "memory/host/path/memory.oom_control", "oom_kill_disable 0\noom_kill 5\n");
        assert_eq!(OutOfMemoryKills::below(folder.path(), cgroups).count(), 5);
    }

    #[test]
    fn without_a_cgroup_nothing_is_seen() {
        let kills = OutOfMemoryKills::default();
        assert!(kills.count() == 0 && !kills.explains_death(0));
    }
}
