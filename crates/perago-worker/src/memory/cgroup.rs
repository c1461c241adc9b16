//! The memory cgroup of this process: what it uses, what it may use, and how often the kernel killed in it.
//!
//! Files and fields are those of the kernel's documentation of both memory controllers (`cgroup-v2.rst`,
//! `cgroup-v1/memory.rst`).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const MOUNT: &str = "/sys/fs/cgroup";
const KILLS: &str = "oom_kill";
/// The files with this counter have a few short lines.
const LONGEST_COUNTER_BYTES: usize = 1024;

/// Version 1 shows a limit of about 2^63 where there is none.
const NO_LIMIT: u64 = 1 << 60;

/// One cgroup with a memory controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryCgroup {
    names: &'static Names,
    folder: PathBuf,
    /// The uppermost folder that limits us too.
    top: PathBuf,
}

/// What one version of the controller calls its files and fields.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    kills: &'static str,
    used: &'static str,
    limit: &'static str,
    /// Use and limit of swap: of memory and swap together, or of swap alone.
    swap: [&'static str; 2],
    swap_includes_memory: bool,
    /// Fields of `memory.stat` that the kernel takes back before it kills.
    reclaimable: &'static [&'static str],
}

static VERSION_1: Names = Names {
    kills: "memory.oom_control",
    used: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
    swap: ["memory.memsw.usage_in_bytes", "memory.memsw.limit_in_bytes"],
    swap_includes_memory: true,
    reclaimable: &["total_inactive_file", "total_active_file"],
};

static VERSION_2: Names = Names {
    kills: "memory.events",
    used: "memory.current",
    limit: "memory.max",
    swap: ["memory.swap.current", "memory.swap.max"],
    swap_includes_memory: false,
    reclaimable: &["inactive_file", "active_file", "slab_reclaimable"],
};

/// How full a cgroup is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fill {
    /// What it uses and the kernel cannot take back.
    pub(crate) used: u64,
    /// What it may use, with the swap that is left to it.
    pub(crate) limit: u64,
}

impl Fill {
    /// The use in percent of the limit.
    pub(crate) fn percent(&self) -> u64 {
        u64::try_from(u128::from(self.used) * 100 / u128::from(self.limit.max(1))).unwrap_or(u64::MAX)
    }
}

/// A cgroup as long as it exists: its folder, and the number that another one of the same name does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    folder: PathBuf,
    inode: u64,
}

impl MemoryCgroup {
    /// The cgroup of this process; `None` where the memory controller is off.
    pub(crate) fn of_this_process() -> Option<Self> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::below(Path::new(MOUNT), &cgroups)
    }

    /// The cgroup by the lines of `/proc/self/cgroup` (`cgroups(7)`). In a container the path is often that of the host,
    /// and what is mounted is the container's own cgroup.
    pub(crate) fn below(mount: &Path, cgroups: &str) -> Option<Self> {
        let lines = || cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let first = |top: PathBuf, path: &str, names: &'static Names| {
            [top.join(path.trim_start_matches('/')), top.clone()]
                .into_iter()
                .find(|folder| field(&folder.join(names.kills), KILLS).is_some())
                .map(|folder| Self { names, folder, top })
        };
        lines()
            .find(|(controllers, _)| controllers.split(',').any(|controller| controller == "memory"))
            .and_then(|(_, path)| first(mount.join("memory"), path, &VERSION_1))
            .or_else(|| {
                let (_, path) = lines().find(|(controllers, _)| controllers.is_empty())?;
                first(mount.to_owned(), path, &VERSION_2)
            })
    }

    /// How many processes the kernel has killed in it because memory ran out.
    pub(crate) fn kills(&self) -> u64 {
        field(&self.folder.join(self.names.kills), KILLS).unwrap_or(0)
    }

    /// The file with this count, for [`kills_in`].
    pub(crate) fn open_counter(&self) -> io::Result<File> {
        File::open(self.folder.join(self.names.kills))
    }

    /// Which cgroup it is.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let inode = fs::metadata(&self.folder).ok()?.ino();
        Some(Identity { folder: self.folder.clone(), inode })
    }

    /// How full it is, or the one around it that is fuller; `None` without a limit.
    pub(crate) fn fill(&self) -> Option<Fill> {
        self.fill_beside(field(Path::new("/proc/meminfo"), "SwapFree:").unwrap_or(0) * 1024)
    }

    fn fill_beside(&self, free_swap: u64) -> Option<Fill> {
        let levels = self.folder.ancestors().take_while(|folder| folder.starts_with(&self.top));
        levels.filter_map(|folder| self.fill_of(folder, free_swap)).max_by_key(Fill::percent)
    }

    fn fill_of(&self, folder: &Path, free_swap: u64) -> Option<Fill> {
        let limit = number(&folder.join(self.names.limit)).filter(|limit| (1..NO_LIMIT).contains(limit))?;
        let used = number(&folder.join(self.names.used))?;
        let left = |used: u64, limit: u64| limit.saturating_sub(used);
        let [swap_used, swap_limit] = self.names.swap.map(|name| number(&folder.join(name)));
        let own_swap = swap_used.zip(swap_limit).map(|(used, limit)| left(used, limit));
        let memory_left = if self.names.swap_includes_memory { left(used, limit) } else { 0 };
        let swap_left = own_swap.map_or(free_swap, |own| left(memory_left, own).min(free_swap));
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let reclaimable: u64 = self.names.reclaimable.iter().filter_map(|name| field_in(&stat, name)).sum();
        Some(Fill { used: used.saturating_sub(reclaimable), limit: limit.saturating_add(swap_left) })
    }
}

/// How many processes the kernel has killed, by an open file with the counter.
pub(crate) fn kills_in(counter: &File) -> Option<u64> {
    let mut content = [0; LONGEST_COUNTER_BYTES];
    let length = counter.read_at(&mut content, 0).ok()?;
    field_in(std::str::from_utf8(&content[..length]).ok()?, KILLS)
}

/// A file that holds one number; `max` is none.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(path: &Path, name: &str) -> Option<u64> {
    field_in(&fs::read_to_string(path).ok()?, name)
}

/// The value in the line `name value`, where a unit may follow.
fn field_in(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.split_whitespace().next()?.parse().ok()
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
    fn version_one_is_read_where_it_has_the_memory_controller() {
        let folder = tempfile::tempdir().unwrap();
        let cgroups = "5:devices:/x\n4:cpu,memory:/host/path\n0::/\n";
        let kills = || MemoryCgroup::below(folder.path(), cgroups).map(|group| group.kills());
        assert_eq!(kills(), None);
        write(folder.path(), "memory.events", "oom 4\noom_kill 9\noom_group_kill 0\n");
        assert_eq!(kills(), Some(9));
        // The container's own cgroup is mounted without the path that the host knows it by.
        write(folder.path(), "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        assert_eq!(kills(), Some(3));
        write(folder.path(), "memory/host/path/memory.oom_control", "oom_kill_disable 0\noom_kill 5\n");
        assert_eq!(kills(), Some(5));
    }

    #[test]
    fn what_the_kernel_takes_back_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a/memory.events", "oom_kill 0\n");
        let group = MemoryCgroup::below(folder.path(), "0::/a\n").unwrap();
        assert_eq!(group.fill_beside(0), None);
        write(folder.path(), "a/memory.max", "max\n");
        write(folder.path(), "a/memory.current", "900\n");
        assert_eq!(group.fill_beside(0), None);
        write(folder.path(), "a/memory.max", "1000\n");
        let stat = "anon 600\nfile 250\ninactive_file 100\nactive_file 50\nslab_reclaimable 30\nslab 70\n";
        write(folder.path(), "a/memory.stat", stat);
        let fill = group.fill_beside(0).unwrap();
        assert_eq!((fill, fill.percent()), (Fill { used: 720, limit: 1000 }, 72));
    }

    #[test]
    fn swap_that_is_left_counts_as_memory() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "v2/memory.events", "oom_kill 0\n");
        write(folder.path(), "v2/memory.max", "1000\n");
        write(folder.path(), "v2/memory.current", "900\n");
        write(folder.path(), "memory/v1/memory.oom_control", "oom_kill 0\n");
        write(folder.path(), "memory/v1/memory.limit_in_bytes", "1000\n");
        write(folder.path(), "memory/v1/memory.usage_in_bytes", "900\n");
        for (cgroups, used, limit, values) in [
            ("0::/v2\n", "v2/memory.swap.current", "v2/memory.swap.max", [50, 250]),
            (
                "4:memory:/v1\n",
                "memory/v1/memory.memsw.usage_in_bytes",
                "memory/v1/memory.memsw.limit_in_bytes",
                [950, 1250],
            ),
        ] {
            let group = MemoryCgroup::below(folder.path(), cgroups).unwrap();
            // Without accounting of swap, the system's is all there is.
            assert_eq!(group.fill_beside(70).unwrap().limit, 1070);
            write(folder.path(), used, &format!("{}\n", values[0]));
            write(folder.path(), limit, &format!("{}\n", values[1]));
            assert_eq!(group.fill_beside(70).unwrap().limit, 1070);
            assert_eq!(group.fill_beside(7000).unwrap().limit, 1200);
            assert_eq!(group.fill_beside(0).unwrap().limit, 1000);
        }
    }

    #[test]
    fn a_cgroup_around_ours_may_be_fuller() {
        let folder = tempfile::tempdir().unwrap();
        for (path, used, limit) in
            [("memory/a/b", 50, "100"), ("memory/a", 90, "100"), ("memory", 10, "9223372036854771712")]
        {
            write(folder.path(), &format!("{path}/memory.oom_control"), "oom_kill 0\n");
            write(folder.path(), &format!("{path}/memory.usage_in_bytes"), &format!("{used}\n"));
            write(folder.path(), &format!("{path}/memory.limit_in_bytes"), &format!("{limit}\n"));
            write(folder.path(), &format!("{path}/memory.stat"), "inactive_file 9\ntotal_inactive_file 5\n");
        }
        // Beyond the mount there is nothing of ours.
        write(folder.path(), "memory.max", "1\n");
        let group = MemoryCgroup::below(folder.path(), "4:memory:/a/b\n").unwrap();
        assert_eq!(group.fill_beside(0), Some(Fill { used: 85, limit: 100 }));
    }

    #[test]
    fn a_cgroup_that_was_made_anew_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a/memory.events", "oom_kill 1\n");
        let identity = || MemoryCgroup::below(folder.path(), "0::/a\n").unwrap().identity();
        let before = identity();
        assert!(before.is_some() && before == identity());
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        write(folder.path(), "a/memory.events", "oom_kill 0\n");
        assert_ne!(before, identity());
    }
}
