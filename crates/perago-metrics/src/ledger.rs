//! Totals in a file of their own: what was folded, and what was exported last.
//!
//! ```text
//! magic, version
//! arenas that are in it (identities), drops by reason
//! lists of bounds
//! series: kind, key, place of its list, sum and its compensation, counts
//! checksum
//! ```
//! All numbers are little-endian. A ledger is written beside its place and renamed: it is there whole or not at all.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::crash;
use crate::layout::CELL_COUNTS;
use crate::series::{Kind, SeriesKey};
use crate::snapshot::HistogramTotal;
use crate::warning::REASONS;

const MAGIC: [u8; 8] = *b"PERAGOTO";
const VERSION: u32 = 1;

/// The total of one histogram in the bounds that it was counted in, or of a counter, which has none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LedgerEntry {
    pub(crate) key: Arc<SeriesKey>,
    pub(crate) bounds: Arc<[f64]>,
    pub(crate) total: HistogramTotal,
}

/// Totals of histograms and counters, and the arenas that are in them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ledger {
    pub(crate) arenas: Vec<[u8; 16]>,
    pub(crate) dropped: [u64; REASONS],
    pub(crate) entries: Vec<LedgerEntry>,
    /// The places of each key's entries, one for each list of bounds.
    places: HashMap<Arc<SeriesKey>, Vec<usize>>,
}

impl Ledger {
    /// Reads the ledger at `path`; none if there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        match std::fs::read(path) {
            Ok(bytes) => Self::decode(&bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Writes the ledger to `path` so that it survives also a power failure.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let mut encoder = Encoder::new(Vec::new(), &self.arenas, self.dropped);
        for entry in &self.entries {
            encoder.add(&stored_key(&entry.key), &entry.bounds, &entry.total.words());
        }
        replace(path, &encoder.finish(), Durability::OverPowerFailures)
    }

    /// Adds a total to the one of the same key and bounds.
    pub(crate) fn add(&mut self, key: &Arc<SeriesKey>, bounds: &Arc<[f64]>, total: &HistogramTotal) {
        let places = self.places.entry(Arc::clone(key)).or_default();
        if let Some(place) = places.iter().find(|place| self.entries[**place].bounds == *bounds) {
            self.entries[*place].total.merge(total);
        } else {
            places.push(self.entries.len());
            let (key, bounds) = (Arc::clone(key), Arc::clone(bounds));
            self.entries.push(LedgerEntry { key, bounds, total: total.clone() });
        }
    }

    /// The total of `key` in `bounds`, whatever bounds it was counted in.
    pub(crate) fn total(&self, key: &SeriesKey, bounds: &[f64]) -> HistogramTotal {
        let mut total = HistogramTotal::new(bounds.len() + 1);
        for place in self.places.get(key).into_iter().flatten() {
            let entry = &self.entries[*place];
            total.merge_rebucketed(bounds, &entry.total, &entry.bounds);
        }
        total
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.get(..8) != Some(&MAGIC) {
            return Err(Error::Foreign { what: "magic of totals" });
        }
        let damaged = Error::Damaged { what: "totals" };
        let Some((content, checksum)) = bytes.split_last_chunk::<4>() else { return Err(damaged) };
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(damaged);
        }
        Decoder { bytes: &content[8..] }.ledger().unwrap_or(Err(damaged))
    }
}

/// What a written file is to outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// This process.
    OverKills,
    /// The machine's power, too.
    OverPowerFailures,
}

/// Writes `parts` beside `path` and renames: what was there is replaced whole.
pub(crate) fn replace(path: &Path, parts: &[Vec<u8>], durability: Durability) -> Result<(), Error> {
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    crash::point();
    let mut file = File::create(&partial).map_err(Error::io("create", &partial))?;
    for part in parts {
        crash::point();
        file.write_all(part).map_err(Error::io("write", &partial))?;
    }
    if durability == Durability::OverPowerFailures {
        file.sync_data().map_err(Error::io("sync", &partial))?;
    }
    crash::point();
    std::fs::rename(&partial, path).map_err(Error::io("rename", path))?;
    crash::point();
    Ok(())
}

/// Kind, length and bytes of a key.
pub(crate) fn stored_key(key: &SeriesKey) -> Box<[u8]> {
    let mut bytes = key.kind().code().to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 4]);
    key.encode(&mut bytes);
    let length = (bytes.len() - 8) as u32;
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes.into()
}

/// Encodes a ledger piece by piece.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    head: Vec<u8>,
    series: Vec<u8>,
    number: u32,
    bounds: Vec<&'a Arc<[f64]>>,
    /// Places of the lists of bounds, by address: the series of a metric share one.
    places: HashMap<*const f64, u32>,
}

impl<'a> Encoder<'a> {
    /// Begins a ledger; `buffer` lends its memory.
    pub(crate) fn new(mut buffer: Vec<u8>, arenas: &[[u8; 16]], dropped: [u64; REASONS]) -> Self {
        buffer.clear();
        let mut head = Vec::new();
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&(arenas.len() as u32).to_le_bytes());
        head.extend_from_slice(arenas.as_flattened());
        head.extend_from_slice(&(REASONS as u32).to_le_bytes());
        for count in dropped {
            head.extend_from_slice(&count.to_le_bytes());
        }
        Self { head, series: buffer, number: 0, bounds: Vec::new(), places: HashMap::new() }
    }

    /// Adds a series with its total in words laid out as a cell.
    pub(crate) fn add(&mut self, stored_key: &[u8], bounds: &'a Arc<[f64]>, words: &[u64]) {
        let place = *self.places.entry(bounds.as_ptr()).or_insert_with(|| {
            self.bounds.push(bounds);
            self.bounds.len() as u32 - 1
        });
        let out = &mut self.series;
        out.extend_from_slice(stored_key);
        out.extend_from_slice(&place.to_le_bytes());
        let start = out.len();
        out.resize(start + words.len() * 8, 0);
        for (bytes, word) in out[start..].as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        self.number += 1;
    }

    /// The bytes of the ledger, in three parts: what precedes the series, the series in the lent memory, the checksum.
    pub(crate) fn finish(self) -> [Vec<u8>; 3] {
        let mut head = self.head;
        head.extend_from_slice(&(self.bounds.len() as u32).to_le_bytes());
        for bounds in self.bounds {
            head.extend_from_slice(&(bounds.len() as u32).to_le_bytes());
            for bound in bounds.iter() {
                head.extend_from_slice(&bound.to_le_bytes());
            }
        }
        head.extend_from_slice(&self.number.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head);
        hasher.update(&self.series);
        let checksum = hasher.finalize().to_le_bytes().to_vec();
        [head, self.series, checksum]
    }
}

/// Reads what has passed its checksum; none where it is shorter than it says.
struct Decoder<'a> {
    bytes: &'a [u8],
}

impl Decoder<'_> {
    fn ledger(&mut self) -> Option<Result<Ledger, Error>> {
        let mut ledger = Ledger::default();
        if self.number()? != VERSION {
            return Some(Err(Error::Foreign { what: "version of totals" }));
        }
        for _ in 0..self.number()? {
            ledger.arenas.push(self.take()?);
        }
        if self.number()? as usize != REASONS {
            return Some(Err(Error::Foreign { what: "reasons of totals" }));
        }
        for count in &mut ledger.dropped {
            *count = u64::from_le_bytes(self.take()?);
        }
        let mut lists: Vec<Arc<[f64]>> = Vec::new();
        for _ in 0..self.number()? {
            let length = self.number()?;
            let bounds: Option<Vec<f64>> = (0..length).map(|_| self.real()).collect();
            lists.push(bounds?.into());
        }
        for _ in 0..self.number()? {
            let kind = Kind::from_code(self.number()?)?;
            let length = self.number()? as usize;
            let (key, rest) = self.bytes.split_at_checked(length)?;
            self.bytes = rest;
            let key = match SeriesKey::decode(kind, key) {
                Ok(key) => Arc::new(key),
                Err(error) => return Some(Err(error)),
            };
            let bounds = Arc::clone(lists.get(self.number()? as usize)?);
            let words: Option<Vec<u64>> =
                (0..=CELL_COUNTS + bounds.len()).map(|_| Some(u64::from_le_bytes(self.take()?))).collect();
            ledger.add(&key, &bounds, &HistogramTotal::of_words(&words?));
        }
        Some(Ok(ledger))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn real(&mut self) -> Option<f64> {
        self.take().map(f64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger { arenas: vec![[7; 16], [9; 16]], ..Ledger::default() };
        ledger.dropped[3] = 5;
        let (narrow, wide): (Arc<[f64]>, Arc<[f64]>) = (Arc::new([1.0]), Arc::new([1.0, 2.0, 4.0]));
        for (name, bounds) in [("app.a", &narrow), ("app.b", &wide), ("app.c", &narrow)] {
            let key = SeriesKey::new(Kind::Histogram, name, vec![("task_name".into(), "t".into())]);
            let counts = 0..=bounds.len() as u64;
            let words: Vec<u64> =
                [2.5_f64.to_bits(), 1e-17_f64.to_bits()].into_iter().chain(counts).collect();
            ledger.add(&Arc::new(key), bounds, &HistogramTotal::of_words(&words));
        }
        ledger
    }

    #[test]
    fn a_ledger_comes_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        assert_eq!(Ledger::read(&path).unwrap(), None);
        ledger().write(&path).unwrap();
        assert_eq!(Ledger::read(&path).unwrap(), Some(ledger()));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_flipped_bit_or_a_missing_end_is_caught() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        ledger().write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Ledger::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Ledger::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn totals_of_one_key_and_bounds_are_one_entry() {
        let mut twice = ledger();
        for entry in ledger().entries {
            twice.add(&entry.key, &entry.bounds, &entry.total);
        }
        assert_eq!(twice.entries.len(), 3);
        assert_eq!(twice.entries[1].total.counts, [0, 2, 4, 6]);
        assert_eq!(twice.entries[1].total.sum.to_bits(), 5.0_f64.to_bits());
    }
}
