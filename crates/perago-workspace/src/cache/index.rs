//! The cache's index: which object is which blob, in an append-only file of checksummed records.
//!
//! Processes append under the cache's lock and read the tail before they look something up. A record cut short by a
//! crash is dropped by the next append; one that is damaged is skipped. What one process learns it knows at once and
//! writes down with others: a record that never reaches the file costs one more download.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const RECORD_BYTES: usize = 32 + 32 + 8 + 8 + 8 + 4;

/// Hash of what names an object.
pub type ObjectKey = [u8; 32];
/// BLAKE3 of a content.
pub type BlobName = [u8; 32];

/// What a blob looked like when its content was last known to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobState {
    /// Length in bytes.
    pub size: u64,
    /// Time of its last change in nanoseconds since the epoch.
    pub modified: i64,
    /// The boot of the machine in which that was; content from an earlier one may not have reached the disk.
    pub boot: u64,
}

/// One line of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The object.
    pub object: ObjectKey,
    /// Its content.
    pub blob: BlobName,
    /// What the blob looked like.
    pub state: BlobState,
}

impl Record {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..32].copy_from_slice(&self.object);
        bytes[32..64].copy_from_slice(&self.blob);
        bytes[64..72].copy_from_slice(&self.state.size.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.state.modified.to_le_bytes());
        bytes[80..88].copy_from_slice(&self.state.boot.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..88]);
        bytes[88..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(88)?;
        if checksum != crc32fast::hash(body).to_le_bytes() {
            return None;
        }
        let number = |start: usize| body[start..start + 8].try_into().ok().map(u64::from_le_bytes);
        Some(Self {
            object: body[..32].try_into().ok()?,
            blob: body[32..64].try_into().ok()?,
            state: BlobState { size: number(64)?, modified: number(72)? as i64, boot: number(80)? },
        })
    }
}

/// The index in memory, and as much of the file as was read.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    file: File,
    read_to: u64,
    objects: HashMap<ObjectKey, BlobName>,
    blobs: HashMap<BlobName, BlobState>,
    bytes: u64,
    // Known here and not yet in the file.
    unwritten: Vec<Record>,
}

impl Index {
    /// Opens or makes the file at `path`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut index = Self::unread(path.to_owned())?;
        index.refresh()?;
        Ok(index)
    }

    fn unread(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            file: open(&path)?,
            path,
            read_to: 0,
            objects: HashMap::new(),
            blobs: HashMap::new(),
            bytes: 0,
            unwritten: Vec::new(),
        })
    }

    /// Reads what other processes have added.
    ///
    /// # Errors
    /// What the system says.
    pub fn refresh(&mut self) -> io::Result<()> {
        let is_current = std::fs::metadata(&self.path)
            .ok()
            .zip(self.file.metadata().ok())
            .is_some_and(|(named, ours)| named.ino() == ours.ino());
        if !is_current {
            let unwritten = std::mem::take(&mut self.unwritten);
            *self = Self::unread(self.path.clone())?;
            for record in unwritten {
                self.note(record);
            }
        }
        let length = self.file.metadata()?.len();
        let whole = length.saturating_sub(self.read_to) / RECORD_BYTES as u64 * RECORD_BYTES as u64;
        if whole == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(whole).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, self.read_to)?;
        for record in bytes.chunks_exact(RECORD_BYTES).filter_map(Record::decode) {
            self.take(&record);
        }
        self.read_to += whole;
        Ok(())
    }

    /// Knows a record from now on; [`Self::append`] writes it.
    pub fn note(&mut self, record: Record) {
        self.take(&record);
        self.unwritten.push(record);
    }

    /// Records that are not yet in the file.
    pub fn unwritten(&self) -> &[Record] {
        &self.unwritten
    }

    /// Writes what was noted; the caller holds the cache's lock.
    ///
    /// # Errors
    /// What the system says; what was noted is kept for the next call.
    pub fn append(&mut self) -> io::Result<()> {
        self.refresh()?;
        // What a crash has cut short would put every later record out of step.
        self.file.set_len(self.read_to)?;
        self.file.seek(SeekFrom::Start(self.read_to))?;
        let bytes: Vec<u8> = self.unwritten.iter().flat_map(Record::encode).collect();
        self.file.write_all(&bytes)?;
        self.unwritten.clear();
        self.read_to += bytes.len() as u64;
        Ok(())
    }

    /// Writes the index anew with the blobs that `keeps`; the caller holds the cache's lock.
    ///
    /// # Errors
    /// What the system says.
    pub fn rewrite(&mut self, keeps: impl Fn(&BlobName) -> bool) -> io::Result<()> {
        self.refresh()?;
        // They are known, so they are written below.
        self.unwritten.clear();
        let kept = self.objects.iter().filter(|(_, blob)| keeps(blob)).filter_map(|(object, blob)| {
            Some(Record { object: *object, blob: *blob, state: *self.blobs.get(blob)? })
        });
        let bytes: Vec<u8> = kept.flat_map(|record| record.encode()).collect();
        let temporary = self.path.with_extension("new");
        std::fs::write(&temporary, bytes)?;
        std::fs::rename(&temporary, &self.path)?;
        self.refresh()
    }

    /// The content of an object, if it is known.
    pub fn blob_of(&self, object: &ObjectKey) -> Option<(BlobName, BlobState)> {
        let blob = self.objects.get(object)?;
        Some((*blob, *self.blobs.get(blob)?))
    }

    /// What a blob looked like.
    pub fn state_of(&self, blob: &BlobName) -> Option<BlobState> {
        self.blobs.get(blob).copied()
    }

    /// Length of all known blobs together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn take(&mut self, record: &Record) {
        self.objects.insert(record.object, record.blob);
        let before = self.blobs.insert(record.blob, record.state);
        self.bytes = self.bytes.saturating_sub(before.map_or(0, |state| state.size));
        self.bytes = self.bytes.saturating_add(record.state.size);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(object: u8, blob: u8) -> Record {
        Record {
            object: [object; 32],
            blob: [blob; 32],
            state: BlobState { size: 5, modified: -7, boot: u64::MAX },
        }
    }

    fn append(index: &mut Index, records: &[Record]) {
        for record in records {
            index.note(*record);
        }
        index.append().unwrap();
    }

    #[test]
    fn what_is_noted_is_known_here_at_once_and_elsewhere_when_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let (mut one, mut other) = (Index::open(&path).unwrap(), Index::open(&path).unwrap());
        one.note(record(1, 1));
        one.note(record(2, 2));
        assert!(one.blob_of(&[1; 32]).is_some());
        assert_eq!((one.unwritten().len(), one.bytes()), (2, 10));
        other.refresh().unwrap();
        assert_eq!(other.blob_of(&[1; 32]), None);
        // Another process replaces the file in between.
        append(&mut other, &[record(3, 3)]);
        other.rewrite(|blob| *blob == [3; 32]).unwrap();
        one.refresh().unwrap();
        assert!(one.blob_of(&[1; 32]).is_some() && one.blob_of(&[3; 32]).is_some());
        one.append().unwrap();
        assert!(one.unwritten().is_empty());
        other.refresh().unwrap();
        for index in [&one, &other] {
            assert!((1..=3).all(|object| index.blob_of(&[object; 32]).is_some()));
            assert_eq!(index.bytes(), 15);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 * RECORD_BYTES as u64);
    }

    #[test]
    fn processes_see_what_others_add_and_rewrite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let (mut one, mut other) = (Index::open(&path).unwrap(), Index::open(&path).unwrap());
        append(&mut one, &[record(1, 1), record(2, 1), record(3, 3)]);
        other.refresh().unwrap();
        assert_eq!(other.blob_of(&[2; 32]), Some(([1; 32], record(2, 1).state)));
        assert_eq!(other.bytes(), 10);
        one.rewrite(|blob| *blob == [3; 32]).unwrap();
        append(&mut other, &[record(4, 4)]);
        one.refresh().unwrap();
        for index in [&one, &other] {
            assert_eq!(index.blob_of(&[1; 32]), None);
            assert!(index.blob_of(&[3; 32]).is_some() && index.blob_of(&[4; 32]).is_some());
        }
    }

    #[test]
    fn a_crash_or_damage_costs_single_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        append(&mut Index::open(&path).unwrap(), &[record(1, 1), record(2, 2)]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 1;
        bytes.extend_from_slice(b"half a record");
        std::fs::write(&path, bytes).unwrap();
        let mut index = Index::open(&path).unwrap();
        append(&mut index, &[record(3, 3)]);
        let again = Index::open(&path).unwrap();
        let known: Vec<bool> = (1..=3).map(|object| again.blob_of(&[object; 32]).is_some()).collect();
        assert_eq!(known, [false, true, true]);
    }
}
