//! What a supervisor notes for its successor, in case the kernel kills it for want of memory: the count of such kills in
//! its cgroup, and how full the container was when it last looked.
//!
//! `memory` in the state directory holds one line of JSON, written in place. A worker that stops removes it, so that its
//! mere presence says that the last one was killed.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::{Fill, Identity, MemoryCgroup};
use crate::executor::result_file::AttemptId;

const FILE_NAME: &str = "memory";

/// A container that was so full when it was last seen was probably killed for it.
const PROBABLE_FROM_PERCENT: u64 = 90;

/// The file of a live supervisor.
#[derive(Debug)]
pub(crate) struct Evidence {
    path: PathBuf,
    file: Option<File>,
    noted: RefCell<Note>,
    has_ended: Cell<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    /// The run of the machine: no count and no process outlives it.
    boot: String,
    cgroup: Option<Identity>,
    kills: u64,
    look: Option<Look>,
}

/// A look at a container that was rather full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    /// How full it was.
    pub(crate) fill: Fill,
    /// The slots that ran bodies.
    pub(crate) slots: Vec<SlotUse>,
}

/// What a slot used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotUse {
    /// The slot.
    pub(crate) slot: u32,
    /// Memory in bytes of its executor and of everything that it had started.
    pub(crate) bytes: u64,
    /// The attempt that it ran.
    pub(crate) attempt: AttemptId,
}

/// What is known of a supervisor that did not stop but was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Killed {
    /// Whether it was for want of memory.
    pub(crate) verdict: Verdict,
    /// How full the container was, if it was rather full.
    pub(crate) look: Option<Look>,
}

/// Whether memory had run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The kernel has killed so many processes of this cgroup since.
    Yes(u64),
    /// Its cgroup is gone, and it was nearly full.
    Probably,
    /// The kernel has killed nothing in this cgroup.
    No,
    /// Its cgroup is gone, or there never was one with a memory controller, and nothing else is known.
    Unknown,
}

impl Verdict {
    /// The word for it in the log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Yes(_) => "yes",
            Self::Probably => "probably",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

impl Evidence {
    /// Begins the file of this supervisor in a state directory. Also returns what the file of an earlier one says that
    /// was killed.
    pub(crate) fn begin(directory: &Path) -> (Self, Option<Killed>) {
        let cgroup = MemoryCgroup::of_this_process();
        let kills = cgroup.as_ref().map_or(0, MemoryCgroup::kills);
        let identity = cgroup.as_ref().and_then(MemoryCgroup::identity);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::begin_as(directory, Note { boot: boot.trim().to_owned(), cgroup: identity, kills, look: None })
    }

    fn begin_as(directory: &Path, now: Note) -> (Self, Option<Killed>) {
        let path = directory.join(FILE_NAME);
        let killed = read(&path).map(|then| judge(&then, &now));
        let file = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path).ok();
        let this = Self { path, file, noted: RefCell::new(now), has_ended: Cell::new(false) };
        this.write();
        (this, killed)
    }

    /// Notes what is seen now, if it differs from what was.
    pub(crate) fn note(&self, kills: u64, look: Option<Look>) {
        {
            let mut noted = self.noted.borrow_mut();
            if noted.kills == kills && noted.look == look {
                return;
            }
            (noted.kills, noted.look) = (kills, look);
        }
        self.write();
    }

    /// This supervisor stops, and was not killed.
    pub(crate) fn end(&self) {
        self.has_ended.set(true);
        let _ = std::fs::remove_file(&self.path);
    }

    /// What cannot be written is no evidence; a full disk is reported elsewhere.
    fn write(&self) {
        let Some(file) = self.file.as_ref().filter(|_| !self.has_ended.get()) else { return };
        let _ = self.try_write(file);
    }

    fn try_write(&self, file: &File) -> io::Result<()> {
        let mut line = serde_json::to_vec(&*self.noted.borrow())?;
        line.push(b'\n');
        file.write_all_at(&line, 0)?;
        file.set_len(line.len() as u64)
    }
}

/// What an earlier supervisor noted. Behind its line a longer one may not have been cut off yet.
fn read(path: &Path) -> Option<Note> {
    let text = std::fs::read_to_string(path).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}

fn judge(then: &Note, now: &Note) -> Killed {
    let is_same_run = then.boot == now.boot;
    let look = then.look.clone().filter(|_| is_same_run);
    let is_same_cgroup = is_same_run && then.cgroup.is_some() && then.cgroup == now.cgroup;
    let was_full = look.as_ref().is_some_and(|look| look.fill.percent() >= PROBABLE_FROM_PERCENT);
    let verdict = match now.kills.checked_sub(then.kills) {
        Some(0) if is_same_cgroup => Verdict::No,
        Some(more) if is_same_cgroup => Verdict::Yes(more),
        _ if was_full => Verdict::Probably,
        _ => Verdict::Unknown,
    };
    Killed { verdict, look }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(boot: &str, inode: u64, kills: u64) -> Note {
        let cgroup = serde_json::from_value(serde_json::json!({ "folder": "/g", "inode": inode })).unwrap();
        Note { boot: boot.into(), cgroup, kills, look: None }
    }

    fn look(used: u64) -> Look {
        let attempt =
            AttemptId { workflow_id: "w".into(), task_id: "t".into(), retry_count: 0, poll_count: 1 };
        Look { fill: Fill { used, limit: 100 }, slots: vec![SlotUse { slot: 1, bytes: used, attempt }] }
    }

    /// What the successor concludes from a supervisor that began as `then` and last noted `kills` and `seen`.
    fn verdict(then: Note, kills: u64, seen: Option<Look>, now: Note) -> Option<Killed> {
        let folder = tempfile::tempdir().unwrap();
        let (evidence, before) = Evidence::begin_as(folder.path(), then);
        assert_eq!(before, None);
        evidence.note(kills, seen);
        Evidence::begin_as(folder.path(), now).1
    }

    #[test]
    fn a_kill_that_nobody_lived_to_see_was_the_supervisors() {
        let killed = verdict(note("b", 1, 2), 3, Some(look(80)), note("b", 1, 4)).unwrap();
        assert_eq!(killed, Killed { verdict: Verdict::Yes(1), look: Some(look(80)) });
        let other = verdict(note("b", 1, 2), 3, Some(look(99)), note("b", 1, 3)).unwrap();
        assert_eq!(other.verdict, Verdict::No);
    }

    #[test]
    fn of_another_cgroup_only_the_last_look_is_known() {
        for (used, expected) in [(89, Verdict::Unknown), (90, Verdict::Probably)] {
            let killed = verdict(note("b", 1, 0), 0, Some(look(used)), note("b", 2, 7)).unwrap();
            assert_eq!(killed.verdict, expected);
        }
        assert_eq!(verdict(note("b", 1, 0), 0, None, note("b", 2, 0)).unwrap().verdict, Verdict::Unknown);
    }

    #[test]
    fn a_machine_that_was_started_again_says_nothing() {
        let killed = verdict(note("a", 1, 0), 0, Some(look(99)), note("b", 1, 5)).unwrap();
        assert_eq!(killed, Killed { verdict: Verdict::Unknown, look: None });
    }

    #[test]
    fn who_stops_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (evidence, _) = Evidence::begin_as(folder.path(), note("b", 1, 0));
        evidence.note(1, None);
        evidence.end();
        evidence.note(2, None);
        assert_eq!(Evidence::begin_as(folder.path(), note("b", 1, 9)).1, None);
    }

    #[test]
    fn a_shorter_note_leaves_nothing_of_a_longer_one() {
        let folder = tempfile::tempdir().unwrap();
        let (evidence, _) = Evidence::begin_as(folder.path(), note("b", 1, 0));
        evidence.note(0, Some(look(99)));
        evidence.note(0, None);
        assert_eq!(read(&folder.path().join(FILE_NAME)), Some(note("b", 1, 0)));
        std::fs::write(folder.path().join(FILE_NAME), b"{\"torn").unwrap();
        assert_eq!(Evidence::begin_as(folder.path(), note("b", 1, 0)).1, None);
    }
}
