//! The journal: an append-only file of checksummed records.
//!
//! `perago-journal 1\n`, then for each record its length and the CRC-32 of its content, both in four bytes, least
//! significant first, and the content: a JSON array of the entry's number and the step. One record is one `write`, so
//! that a killed process leaves at most the last one torn; a torn or damaged record is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::entry::{Entry, JournalRecord, apply};

const FILE_NAME: &str = "journal";
const MAGIC: &str = "perago-journal ";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8;
/// A longer record cannot be ours: results end at 3 MiB, and their text may be escaped.
const LONGEST_RECORD: usize = 64 << 20;
/// The first line of no version is longer.
const LONGEST_HEADER: u64 = 64;
const COPIED_AT_ONCE: usize = 64 << 10;
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
                "start the version that wrote it until perago status shows nothing undelivered, then move the file away \
                 and go back"
            }
            Self::Foreign(_) => "move the file away, or set PERAGO_STATE_DIR to another folder",
        }
    }
}

/// Where a record is in the file, with what stands before its content.
#[derive(Debug, Clone, Copy)]
struct Span {
    offset: u64,
    bytes: usize,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    is_synced: bool,
    bytes: u64,
    open_bytes: u64,
    /// The records of each entry that is not closed, in order.
    spans: BTreeMap<u64, Vec<Span>>,
    /// Entries of which a record could not be written.
    lacking: BTreeSet<u64>,
    /// A step may stand at the end that was not written whole.
    is_torn: bool,
}

impl Journal {
    /// Opens the journal of a state directory, or begins one. Returns the entries that are not closed, those that are
    /// kept without their results, and how many records could not be read.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(
        directory: &Path,
        is_synced: bool,
    ) -> Result<(Self, BTreeMap<u64, Entry>, u64), JournalError> {
        let path = directory.join(FILE_NAME);
        let mut spans: BTreeMap<u64, Vec<Span>> = BTreeMap::new();
        let (mut entries, damaged) = scan(&path, |entries, number, span, is_claim| {
            let Some(entry) = entries.get_mut(&number) else {
                spans.remove(&number);
                return;
            };
            let spans = spans.entry(number).or_default();
            if is_claim {
                spans.clear();
            }
            spans.push(span);
            if entry.kept.is_some() {
                entry.shelve();
            }
        })?;
        let failed = |error| JournalError::System { path: path.clone(), error };
        let file = append_to(&path, false).map_err(failed)?;
        let mut journal = Self {
            path: path.clone(),
            file,
            is_synced,
            bytes: 0,
            open_bytes: 0,
            spans,
            lacking: BTreeSet::new(),
            is_torn: false,
        };
        journal.rewrite(&mut entries).map_err(failed)?;
        Ok((journal, entries, damaged))
    }

    /// Reads the journal of a state directory without changing it, also while a worker writes it. Returns the entries
    /// that are not closed, with their results, and how many records could not be read.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(directory: &Path) -> Result<(BTreeMap<u64, Entry>, u64), JournalError> {
        scan(&directory.join(FILE_NAME), |_, _, _, _| {})
    }

    /// Adds one step of an entry.
    ///
    /// # Errors
    /// What the system says; the step is not written then.
    pub fn append(&mut self, number: u64, record: &JournalRecord) -> io::Result<()> {
        let written = frame(number, record).and_then(|frame| self.write(&frame));
        match (&written, record) {
            (Ok(_), JournalRecord::Closed) => drop(self.spans.remove(&number)),
            (Ok(span), JournalRecord::Claimed { .. }) => drop(self.spans.insert(number, vec![*span])),
            (Ok(span), _) => {
                if let Some(spans) = self.spans.get_mut(&number) {
                    spans.push(*span);
                }
            }
            (Err(_), _) => drop(self.lacking.insert(number)),
        }
        written.map(drop)
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<Span> {
        if self.is_torn {
            // Nothing behind it could be read.
            self.file.set_len(self.bytes)?;
        }
        self.is_torn = true;
        self.file.write_all(frame)?;
        if self.is_synced {
            self.file.sync_data()?;
        }
        let span = Span { offset: self.bytes, bytes: frame.len() };
        self.bytes += frame.len() as u64;
        self.is_torn = false;
        Ok(span)
    }

    /// Takes the results of an entry that is kept out of memory, if all of it is in the file.
    pub fn shelve(&self, number: u64, entry: &mut Entry) {
        if entry.kept.is_some() && self.spans.contains_key(&number) && !self.lacking.contains(&number) {
            entry.shelve();
        }
    }

    /// Reads an entry with its results.
    ///
    /// # Errors
    /// The file cannot be read, or a record of the entry is damaged.
    pub fn load(&self, number: u64) -> io::Result<Option<Entry>> {
        let mut entries = BTreeMap::new();
        let mut frame = Vec::new();
        for span in self.spans.get(&number).into_iter().flatten() {
            self.copy(*span, &mut frame)?;
            let mut rest = frame.as_slice();
            match next_frame(&mut rest)? {
                Some(Frame { record: Some((_, record)), .. }) => apply(&mut entries, number, record),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(entries.remove(&number))
    }

    fn copy(&self, span: Span, into: &mut Vec<u8>) -> io::Result<()> {
        into.resize(span.bytes, 0);
        self.file.read_exact_at(into, span.offset)
    }

    /// Whether most of the file is about what is closed.
    pub fn is_long(&self) -> bool {
        self.bytes > LONG_FILE_BYTES.max(2 * self.open_bytes)
    }

    /// Writes the file anew, with what is open alone, and takes the results of what is kept out of memory.
    ///
    /// # Errors
    /// What the system says; steps are added to the old file then, and it is long again when it has doubled.
    pub fn rewrite(&mut self, entries: &mut BTreeMap<u64, Entry>) -> io::Result<()> {
        self.open_bytes = self.bytes;
        let new = self.path.with_extension("new");
        let file = append_to(&new, true)?;
        let mut writer = BufWriter::with_capacity(COPIED_AT_ONCE, &file);
        let header = format!("{MAGIC}{VERSION}\n");
        writer.write_all(header.as_bytes())?;
        let mut bytes = header.len() as u64;
        let mut spans: BTreeMap<u64, Vec<Span>> = BTreeMap::new();
        let mut add = |number: u64, frame: &[u8]| {
            writer.write_all(frame)?;
            spans.entry(number).or_default().push(Span { offset: bytes, bytes: frame.len() });
            bytes += frame.len() as u64;
            io::Result::Ok(())
        };
        let mut copied = Vec::new();
        for (number, entry) in &*entries {
            if entry.is_shelved {
                for span in self.spans.get(number).into_iter().flatten() {
                    self.copy(*span, &mut copied)?;
                    add(*number, &copied)?;
                }
            } else {
                for record in entry.records() {
                    add(*number, &frame(*number, &record)?)?;
                }
            }
        }
        writer.flush()?;
        drop(writer);
        file.sync_data()?;
        std::fs::rename(&new, &self.path)?;
        (self.file, self.spans) = (file, spans);
        self.lacking.clear();
        (self.bytes, self.open_bytes, self.is_torn) = (bytes, bytes, false);
        for (number, entry) in entries {
            self.shelve(*number, entry);
        }
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
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

// Without it a loss of power could bring the old file back, and what was added to the new one would be gone.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn frame(number: u64, record: &JournalRecord) -> io::Result<Vec<u8>> {
    let content = serde_json::to_vec(&(number, record))?;
    let length = u32::try_from(content.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + content.len());
    frame.extend(length.to_le_bytes());
    frame.extend(crc32fast::hash(&content).to_le_bytes());
    frame.extend(content);
    Ok(frame)
}

/// Reads a journal record by record. `seen` is told of each: the entries with it, the number of its own, where it is, and
/// whether it is a claim.
fn scan(
    path: &Path,
    mut seen: impl FnMut(&mut BTreeMap<u64, Entry>, u64, Span, bool),
) -> Result<(BTreeMap<u64, Entry>, u64), JournalError> {
    let failed = |error| JournalError::System { path: path.to_owned(), error };
    let (mut entries, mut damaged) = (BTreeMap::new(), 0);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((entries, damaged)),
        opened => BufReader::with_capacity(COPIED_AT_ONCE, opened.map_err(failed)?),
    };
    if file.fill_buf().map_err(failed)?.is_empty() {
        return Ok((entries, damaged));
    }
    let mut offset = after_header(&mut file, path)?;
    loop {
        match next_frame(&mut file) {
            Ok(None) => return Ok((entries, damaged)),
            Ok(Some(Frame { bytes, record })) => {
                match record {
                    Some((number, record)) => {
                        let is_claim = matches!(record, JournalRecord::Claimed { .. });
                        apply(&mut entries, number, record);
                        seen(&mut entries, number, Span { offset, bytes }, is_claim);
                    }
                    None => damaged += 1,
                }
                offset += bytes as u64;
            }
            // A record that was not written to its end, or a length that is none: nothing behind it can be found.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                return Ok((entries, damaged + 1));
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Reads the first line; returns its length.
fn after_header(file: &mut impl io::BufRead, path: &Path) -> Result<u64, JournalError> {
    let foreign = || JournalError::Foreign(path.to_owned());
    let mut line = Vec::new();
    let read = file.take(LONGEST_HEADER).read_until(b'\n', &mut line);
    let bytes = read.map_err(|error| JournalError::System { path: path.to_owned(), error })?;
    let line =
        std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n')).ok_or_else(foreign)?;
    let version = line.strip_prefix(MAGIC).and_then(|text| text.parse().ok()).ok_or_else(foreign)?;
    match version {
        VERSION => Ok(bytes as u64),
        found => Err(JournalError::Newer { path: path.to_owned(), found }),
    }
}

/// A record as it stands in the file.
struct Frame {
    bytes: usize,
    /// None when it is damaged.
    record: Option<(u64, JournalRecord)>,
}

/// Reads one record; `None` at the end of the file.
fn next_frame(file: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let Some((length, checksum)) = header.split_first_chunk::<4>() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let checksum = <[u8; 4]>::try_from(checksum).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LONGEST_RECORD {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = Vec::new();
    if file.take(length as u64).read_to_end(&mut content)? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let is_whole = crc32fast::hash(&content) == u32::from_le_bytes(checksum);
    let record = if is_whole { serde_json::from_slice(&content).ok() } else { None };
    Ok(Some(Frame { bytes: HEADER_BYTES + length, record }))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
