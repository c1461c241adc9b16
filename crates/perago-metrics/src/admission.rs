//! Which label sets of a worker have a series of their own: the first ones, for ever.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::crash;
use crate::layout::word32;
use crate::series::SeriesKey;

const FILE: &str = "admitted";
/// Whether admitted, the key's hash, a checksum.
const RECORD: usize = 1 + 16 + 4;

/// The decisions, kept in a file so that a key once in overflow stays there over restarts and changed caps.
#[derive(Debug)]
pub(crate) struct Admission {
    path: PathBuf,
    limit: usize,
    decisions: HashMap<u128, bool>,
    admitted: usize,
    /// The length of the file, without what a failed write may have left.
    written: u64,
    unwritten: Vec<u8>,
    /// Decisions may have been lost: a label set that has samples and no decision was perhaps refused one.
    is_damaged: bool,
}

impl Admission {
    /// Reads the decisions in `directory`. Damaged records are passed over.
    pub(crate) fn open(directory: &Path, limit: usize) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(Error::io("read", &path))?,
        };
        let whole = bytes.len() - bytes.len() % RECORD;
        if whole < bytes.len() {
            // A torn last record would shift every later one.
            let file = File::options().write(true).open(&path).map_err(Error::io("open", &path))?;
            file.set_len(whole as u64).map_err(Error::io("cut", &path))?;
        }
        let mut is_damaged = false;
        let mut decisions = HashMap::new();
        for record in bytes[..whole].chunks_exact(RECORD) {
            if crc32fast::hash(&record[..17]) == word32(record, 17) {
                let hash = u128::from_le_bytes(std::array::from_fn(|index| record[1 + index]));
                decisions.entry(hash).or_insert(record[0] == 1);
            } else {
                is_damaged = true;
            }
        }
        let admitted = decisions.values().filter(|admitted| **admitted).count();
        Ok(Self {
            path,
            limit,
            decisions,
            admitted,
            written: whole as u64,
            unwritten: Vec::new(),
            is_damaged,
        })
    }

    /// Takes note of a series that was exported under its own labels, whatever became of the decision.
    pub(crate) fn adopt(&mut self, key: &SeriesKey) {
        let hash = hash(key);
        if !self.decisions.contains_key(&hash) {
            self.decide(hash, true);
        }
    }

    /// Ends the look at what earlier runs left behind.
    pub(crate) fn settled(&mut self) {
        self.is_damaged = false;
    }

    /// Whether `key` has a series of its own. Decided once.
    pub(crate) fn admits(&mut self, key: &SeriesKey) -> bool {
        let hash = hash(key);
        if let Some(decision) = self.decisions.get(&hash) {
            return *decision;
        }
        self.decide(hash, self.admitted < self.limit && !self.is_damaged)
    }

    fn decide(&mut self, hash: u128, admitted: bool) -> bool {
        self.admitted += usize::from(admitted);
        self.decisions.insert(hash, admitted);
        let start = self.unwritten.len();
        self.unwritten.push(u8::from(admitted));
        self.unwritten.extend_from_slice(&hash.to_le_bytes());
        let checksum = crc32fast::hash(&self.unwritten[start..]);
        self.unwritten.extend_from_slice(&checksum.to_le_bytes());
        admitted
    }

    /// Writes down what was decided since.
    pub(crate) fn persist(&mut self) -> Result<(), Error> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let opened = File::options().write(true).create(true).truncate(false).open(&self.path);
        let file = opened.map_err(Error::io("open", &self.path))?;
        crash::point();
        file.write_all_at(&self.unwritten, self.written).map_err(Error::io("write", &self.path))?;
        crash::point();
        self.written += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

/// FNV-1a of 128 bits over the key's stored form: the same in every version and on every machine.
fn hash(key: &SeriesKey) -> u128 {
    let mut bytes = vec![key.kind().code() as u8];
    key.encode(&mut bytes);
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Kind;

    fn key(value: u32) -> SeriesKey {
        SeriesKey::new(Kind::Gauge, "app.a", vec![("user".into(), value.to_string().into())])
    }

    #[test]
    fn the_first_keys_are_admitted_and_every_decision_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mut admission = Admission::open(directory.path(), 2).unwrap();
        assert_eq!([1, 2, 3, 1].map(|value| admission.admits(&key(value))), [true, true, false, true]);
        admission.persist().unwrap();
        let mut again = Admission::open(directory.path(), 3).unwrap();
        assert_eq!([3, 2, 4, 5].map(|value| again.admits(&key(value))), [false, true, true, false]);
    }

    #[test]
    fn what_was_exported_is_admitted_even_beyond_the_cap() {
        let directory = tempfile::tempdir().unwrap();
        let mut admission = Admission::open(directory.path(), 1).unwrap();
        assert!(admission.admits(&key(1)));
        admission.adopt(&key(2));
        assert_eq!([1, 2, 3].map(|value| admission.admits(&key(value))), [true, true, false]);
    }

    #[test]
    fn a_torn_or_damaged_record_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let mut admission = Admission::open(directory.path(), 2).unwrap();
        assert!([1, 2].iter().all(|value| admission.admits(&key(*value))));
        admission.persist().unwrap();
        let path = directory.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        bytes.extend_from_slice(&[1, 2, 3]);
        std::fs::write(&path, bytes).unwrap();
        let mut again = Admission::open(directory.path(), 3).unwrap();
        assert!(again.admits(&key(2)));
        assert!(!again.admits(&key(1)), "it may have been refused");
        again.settled();
        assert!(again.admits(&key(3)), "it is new");
        again.persist().unwrap();
        let mut third = Admission::open(directory.path(), 5).unwrap();
        assert_eq!([1, 2].map(|value| third.admits(&key(value))), [false, true]);
    }
}
