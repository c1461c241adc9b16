//! The last outcome of each slot, on disk before the supervisor hears of it.
//!
//! A body that has ended is finished work even when the supervisor dies before it has read the executor's answer; its
//! successor finds the outcome here. One file a slot, written in place: length and CRC-32 of the content in four bytes
//! each, least significant first, then the content as JSON.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::message::{Assignment, Ended};

const HEADER_BYTES: usize = 8;
const EXTENSION: &str = "result";

/// Whose outcome it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptId {
    /// Conductor's workflow id.
    pub workflow_id: String,
    /// Conductor's task id.
    pub task_id: String,
    /// Which retry it is.
    pub retry_count: i64,
    /// How often the task was handed out.
    pub poll_count: i64,
}

impl AttemptId {
    /// The attempt of an assignment.
    pub fn of(assignment: &Assignment) -> Self {
        Self {
            workflow_id: assignment.workflow_id.clone(),
            task_id: assignment.task_id.clone(),
            retry_count: i64::from(assignment.retry_count),
            poll_count: assignment.poll_count,
        }
    }
}

/// The file of one slot.
#[derive(Debug)]
pub struct ResultFile(File);

impl ResultFile {
    /// Opens the file of a slot below `directory`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(directory: &Path, slot: u32) -> io::Result<Self> {
        let path = path_of(directory, slot);
        OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path).map(Self)
    }

    /// Replaces the outcome by another one.
    ///
    /// # Errors
    /// What the system says; the file may hold neither then.
    pub fn write(&self, attempt: &AttemptId, ended: &Ended) -> io::Result<()> {
        let content = serde_json::to_vec(&(attempt, ended))?;
        let length =
            u32::try_from(content.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
        bytes.extend(length.to_le_bytes());
        bytes.extend(crc32fast::hash(&content).to_le_bytes());
        bytes.extend(content);
        self.0.write_all_at(&bytes, 0)
    }
}

/// Every outcome below `directory`; what is torn or damaged is none.
pub fn read_all(directory: &Path) -> Vec<(AttemptId, Ended)> {
    let Ok(files) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    paths
        .filter(|path| path.extension().is_some_and(|found| found == EXTENSION))
        .filter_map(|path| read(&path))
        .collect()
}

fn read(path: &Path) -> Option<(AttemptId, Ended)> {
    let bytes = std::fs::read(path).ok()?;
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let content = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let is_whole = crc32fast::hash(content) == u32::from_le_bytes(*checksum);
    is_whole.then(|| serde_json::from_slice(content).ok()).flatten()
}

fn path_of(directory: &Path, slot: u32) -> PathBuf {
    directory.join(format!("slot-{slot}.{EXTENSION}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::message::Outcome;
    use serde_json::value::RawValue;

    fn attempt(poll_count: i64) -> AttemptId {
        AttemptId { workflow_id: "w".into(), task_id: "t".into(), retry_count: 0, poll_count }
    }

    fn ended(text: &str) -> Ended {
        let outcome = Outcome::Completed(RawValue::from_string(format!("\"{text}\"")).unwrap());
        Ended { attempt: 1, outcome, body_seconds: 0.5, exception: None }
    }

    #[test]
    fn the_last_outcome_is_found_and_a_torn_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = ResultFile::open(folder.path(), 2).unwrap();
        file.write(&attempt(1), &ended("a long first outcome")).unwrap();
        file.write(&attempt(2), &ended("short")).unwrap();
        std::fs::write(folder.path().join("slot-1.result"), b"\x10\0\0\0torn").unwrap();
        std::fs::write(folder.path().join("other"), b"").unwrap();
        let found = read_all(folder.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, attempt(2));
        assert!(matches!(&found[0].1.outcome, Outcome::Completed(text) if text.get() == "\"short\""));
        let mut bytes = std::fs::read(path_of(folder.path(), 2)).unwrap();
        bytes[HEADER_BYTES + 3] ^= 1;
        std::fs::write(path_of(folder.path(), 2), bytes).unwrap();
        assert!(read_all(folder.path()).is_empty());
    }
}
