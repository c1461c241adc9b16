//! The journal: an append-only file of checksummed records.
//!
//! `perago-journal 1\n`, then for each record its length and the CRC-32 of its content, both in four bytes, least
//! significant first, and the content: a JSON array of the entry's number and the step. One record is one `write`, so
//! that a killed process leaves at most the last one torn; a torn or damaged record is passed over.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::entry::{Entry, Record, apply};

const FILE_NAME: &str = "journal";
const MAGIC: &str = "perago-journal ";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8;
/// A longer record cannot be ours: results end at 3 MiB, and their text may be escaped.
const LONGEST_RECORD: usize = 64 << 20;
/// Beyond this length and twice what is open, the file is written anew.
const LONG_FILE_BYTES: u64 = 4 << 20;

/// Why a journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The system refused.
    #[error("the journal {} cannot be used: {error}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A newer version wrote it; nothing was changed.
    #[error("the journal {} is of format {found}; this version reads format {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is something else.
    #[error("{} is no journal of Perago", .0.display())]
    Foreign(PathBuf),
}

impl JournalError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::System { .. } => "set PERAGO_STATE_DIR to a folder that this user can write",
            Self::Newer { .. } => {
                "start the version that wrote it until perago status shows nothing undelivered, then go back"
            }
            Self::Foreign(_) => "move the file away, or set PERAGO_STATE_DIR to another folder",
        }
    }
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    is_synced: bool,
    bytes: u64,
    open_bytes: u64,
    /// A step may stand at the end that was not written whole.
    is_torn: bool,
}

impl Journal {
    /// Opens the journal of a state directory, or begins one. Returns the entries that are not closed, and how many
    /// records could not be read.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(
        directory: &Path,
        is_synced: bool,
    ) -> Result<(Self, BTreeMap<u64, Entry>, u64), JournalError> {
        let path = directory.join(FILE_NAME);
        let (entries, damaged) = Self::read(directory)?;
        let failed = |error| JournalError::System { path: path.clone(), error };
        let file = append_to(&path, false).map_err(failed)?;
        let mut journal =
            Self { path: path.clone(), file, is_synced, bytes: 0, open_bytes: 0, is_torn: false };
        journal.rewrite(&entries).map_err(failed)?;
        Ok((journal, entries, damaged))
    }

    /// Reads the journal of a state directory without changing it, also while a worker writes it. Returns the entries
    /// that are not closed, and how many records could not be read.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(directory: &Path) -> Result<(BTreeMap<u64, Entry>, u64), JournalError> {
        let path = directory.join(FILE_NAME);
        let mut content = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut content)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((BTreeMap::new(), 0)),
            Err(error) => return Err(JournalError::System { path, error }),
            Ok(_) if content.is_empty() => return Ok((BTreeMap::new(), 0)),
            Ok(_) => {}
        }
        let body = after_header(&content, &path)?;
        Ok(read_records(body))
    }

    /// Adds one step of an entry.
    ///
    /// # Errors
    /// What the system says; the step is not written then.
    pub fn append(&mut self, number: u64, record: &Record) -> io::Result<()> {
        let frame = frame(number, record)?;
        if self.is_torn {
            // Nothing behind it could be read.
            self.file.set_len(self.bytes)?;
        }
        self.is_torn = true;
        self.file.write_all(&frame)?;
        if self.is_synced {
            self.file.sync_data()?;
        }
        self.bytes += frame.len() as u64;
        self.is_torn = false;
        Ok(())
    }

    /// Whether most of the file is about what is closed.
    pub fn is_long(&self) -> bool {
        self.bytes > LONG_FILE_BYTES.max(2 * self.open_bytes)
    }

    /// Writes the file anew, with what is open alone.
    ///
    /// # Errors
    /// What the system says; steps are added to the old file then, and it is long again when it has doubled.
    pub fn rewrite(&mut self, entries: &BTreeMap<u64, Entry>) -> io::Result<()> {
        self.open_bytes = self.bytes;
        let mut content = format!("{MAGIC}{VERSION}\n").into_bytes();
        for (number, entry) in entries {
            for record in entry.records() {
                content.extend(frame(*number, &record)?);
            }
        }
        let new = self.path.with_extension("new");
        let mut file = append_to(&new, true)?;
        file.write_all(&content)?;
        file.sync_data()?;
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        self.bytes = content.len() as u64;
        self.open_bytes = self.bytes;
        self.is_torn = false;
        if self.is_synced { sync_folder_of(&self.path) } else { Ok(()) }
    }
}

fn append_to(path: &Path, is_new: bool) -> io::Result<File> {
    if is_new {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

// Without it a loss of power could bring the old file back, and what was added to the new one would be gone.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn frame(number: u64, record: &Record) -> io::Result<Vec<u8>> {
    let content = serde_json::to_vec(&(number, record))?;
    let length = u32::try_from(content.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + content.len());
    frame.extend(length.to_le_bytes());
    frame.extend(crc32fast::hash(&content).to_le_bytes());
    frame.extend(content);
    Ok(frame)
}

fn after_header<'a>(content: &'a [u8], path: &Path) -> Result<&'a [u8], JournalError> {
    let foreign = || JournalError::Foreign(path.to_owned());
    let end = content.iter().position(|byte| *byte == b'\n').ok_or_else(foreign)?;
    let line = std::str::from_utf8(&content[..end]).map_err(|_| foreign())?;
    let version = line.strip_prefix(MAGIC).and_then(|text| text.parse().ok()).ok_or_else(foreign)?;
    match version {
        VERSION => Ok(&content[end + 1..]),
        found => Err(JournalError::Newer { path: path.to_owned(), found }),
    }
}

fn read_records(mut rest: &[u8]) -> (BTreeMap<u64, Entry>, u64) {
    let (mut entries, mut damaged) = (BTreeMap::new(), 0);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((checksum, after)) = after.split_first_chunk::<4>() else { break };
        // A record that was not written to its end, or a length that is none: nothing behind it can be found.
        if length > LONGEST_RECORD || after.len() < length {
            break;
        }
        let (content, after) = after.split_at(length);
        rest = after;
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            damaged += 1;
            continue;
        }
        match serde_json::from_slice::<(u64, Record)>(content) {
            Ok((number, record)) => apply(&mut entries, number, record),
            Err(_) => damaged += 1,
        }
    }
    let is_torn = !rest.is_empty();
    (entries, damaged + u64::from(is_torn))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
