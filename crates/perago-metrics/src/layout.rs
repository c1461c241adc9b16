//! Where everything lies in an arena file, and the parts that are plain bytes.
//!
//! ```text
//! 0        header: what never changes, with a checksum; the generation, with its own; counters
//! 4096     index: one entry of 64 bytes for each series
//!          blob: keys and bucket bounds, which the entries point into
//!          shards, page by page: owner and redo record, then the cells
//! ```
//! All numbers are little-endian, as is every machine that this runs on.

use crate::Error;
use crate::ladder::Form;
use crate::series::{Kind, SeriesKey};

const _: () =
    assert!(cfg!(target_endian = "little"), "an arena is read and written in the machine's byte order");

pub(crate) const PAGE: u64 = 4096;
const MAGIC: [u8; 8] = *b"PERAGOAR";
const VERSION: u32 = 2;
const STATIC_LENGTH: usize = 72;

/// The header's mutable words, by byte offset.
pub(crate) const GENERATION: u64 = 128;
pub(crate) const GENERATION_LENGTH: usize = 48;
pub(crate) const NEXT_SERIES: u64 = 256;
pub(crate) const NEXT_BLOB: u64 = 264;
pub(crate) const NEXT_CELL: u64 = 272;
pub(crate) const DROPS: u64 = 512;

pub(crate) const ENTRY_LENGTH: u64 = 64;
/// Entry states are far apart, so that a flipped bit is seen.
pub(crate) const FREE: u32 = 0;
pub(crate) const RESERVED: u32 = 0x5245_5356;
pub(crate) const COMMITTED: u32 = 0x434f_4d54;

/// The shard's own words, by index; cells follow.
pub(crate) const SHARD_OWNER: usize = 0;
pub(crate) const SHARD_OWNER_STARTED: usize = 1;
pub(crate) const SHARD_USED: usize = 2;
pub(crate) const REDO_ARMED: usize = 3;
pub(crate) const REDO_TARGET: usize = 4;
pub(crate) const REDO_FIRST: usize = 5;
pub(crate) const REDO_SECOND: usize = 6;
pub(crate) const REDO_COUNT: usize = 7;
/// What [`SHARD_USED`] holds once a thread has claimed the shard; no flipped byte of it is zero.
pub(crate) const USED: u64 = 0x5553_4544_5553_4544;
/// Two cache lines, so that neighbouring prefetches do not share one between threads.
pub(crate) const SHARD_WORDS: usize = 16;

/// The first two words of a cell: sum and its compensation, or value and time. Counts follow.
pub(crate) const CELL_FIRST: usize = 0;
pub(crate) const CELL_SECOND: usize = 1;
pub(crate) const CELL_COUNTS: usize = 2;

/// The bounds of the general ladder, and the bytes that a name and its labels take on average.
const GENERAL_BOUNDS: usize = 26;
const KEY_BYTES: u32 = 224;

/// How large an arena is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaOptions {
    /// Threads that record without sharing; further ones share one shard.
    pub shards: u32,
    /// Series that fit, histograms and gauges together.
    pub series: u32,
    /// Bytes for names, labels and bounds.
    pub blob_bytes: u32,
    /// Words of 8 bytes for the cells of one shard; a histogram of 26 bounds needs 29.
    pub cell_words: u32,
}

impl Default for ArenaOptions {
    fn default() -> Self {
        Self::for_label_sets(crate::recorder::DEFAULT_LABEL_SETS)
    }
}

impl ArenaOptions {
    /// Room for `label_sets` label sets of histograms with the general ladder, and a margin.
    pub fn for_label_sets(label_sets: usize) -> Self {
        Self::for_bounds(label_sets, GENERAL_BOUNDS)
    }

    /// Room for `label_sets` label sets of histograms with up to `bounds` bounds each, and a margin.
    pub fn for_bounds(label_sets: usize, bounds: usize) -> Self {
        let (label_sets, bounds) = (label_sets as u32, bounds.max(GENERAL_BOUNDS) as u32);
        let series = label_sets + label_sets / 4 + 286;
        Self {
            shards: 24,
            series,
            blob_bytes: (series * (KEY_BYTES + bounds * 8)).next_multiple_of(PAGE as u32),
            cell_words: series * (CELL_COUNTS as u32 + bounds + 1),
        }
    }

    /// Whether an arena of this size holds whatever one of the size `wanted` does.
    pub(crate) fn holds(&self, wanted: &Self) -> bool {
        self.shards >= wanted.shards
            && self.series >= wanted.series
            && self.blob_bytes >= wanted.blob_bytes
            && self.cell_words >= wanted.cell_words
    }
}

/// What is fixed when the file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) options: ArenaOptions,
    pub(crate) arena_id: [u8; 16],
    pub(crate) created_unix_nanos: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; STATIC_LENGTH] {
        let mut bytes = [0; STATIC_LENGTH];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&self.options.shards.to_le_bytes());
        put(&self.options.series.to_le_bytes());
        put(&self.options.blob_bytes.to_le_bytes());
        put(&self.options.cell_words.to_le_bytes());
        put(&(crate::warning::REASONS as u32).to_le_bytes());
        put(&self.created_unix_nanos.to_le_bytes());
        put(&self.arena_id);
        let checksum = crc32fast::hash(&bytes[..STATIC_LENGTH - 4]);
        bytes[STATIC_LENGTH - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bytes: &[u8; STATIC_LENGTH] = bytes.first_chunk().ok_or(Error::Foreign { what: "length" })?;
        if bytes[..8] != MAGIC {
            return Err(Error::Foreign { what: "magic" });
        }
        if crc32fast::hash(&bytes[..STATIC_LENGTH - 4]) != word32(bytes, STATIC_LENGTH - 4) {
            return Err(Error::Damaged { what: "header" });
        }
        if word32(bytes, 8) != VERSION {
            return Err(Error::Foreign { what: "version" });
        }
        let mut arena_id = [0; 16];
        arena_id.copy_from_slice(&bytes[40..56]);
        Ok(Self {
            options: ArenaOptions {
                shards: word32(bytes, 12),
                series: word32(bytes, 16),
                blob_bytes: word32(bytes, 20),
                cell_words: word32(bytes, 24),
            },
            arena_id,
            created_unix_nanos: word64(bytes, 32),
        })
    }

    pub(crate) fn entry(index: u32) -> u64 {
        PAGE + u64::from(index) * ENTRY_LENGTH
    }

    pub(crate) fn blob(&self) -> u64 {
        Self::entry(self.options.series).next_multiple_of(PAGE)
    }

    fn stride(&self) -> u64 {
        ((SHARD_WORDS as u64 + u64::from(self.options.cell_words)) * 8).next_multiple_of(PAGE)
    }

    /// The byte offset of a shard; the one after the last is the shared one.
    pub(crate) fn shard(&self, index: u32) -> u64 {
        (self.blob() + u64::from(self.options.blob_bytes)).next_multiple_of(PAGE)
            + u64::from(index) * self.stride()
    }

    pub(crate) fn file_length(&self) -> u64 {
        self.shard(self.options.shards + 1)
    }
}

/// Which run of which boot writes the arena now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) boot_id: [u8; 16],
    pub(crate) number: u64,
    /// Gauges written before this reading of the monotonic clock are not exported; `u64::MAX` means none is.
    pub(crate) gauges_since: u64,
    /// The most label sets that a recorder of this generation may make series of.
    pub(crate) label_sets: u32,
    /// How a recorder of this generation lays out histograms.
    pub(crate) form: Form,
}

impl Generation {
    pub(crate) fn encode(&self) -> [u8; GENERATION_LENGTH] {
        let mut bytes = [0; GENERATION_LENGTH];
        bytes[..16].copy_from_slice(&self.boot_id);
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.gauges_since.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.label_sets.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.form.code().to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..40]);
        bytes[40..44].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; GENERATION_LENGTH]) -> Result<Self, Error> {
        if crc32fast::hash(&bytes[..40]) != word32(bytes, 40) {
            return Err(Error::Damaged { what: "generation" });
        }
        let mut boot_id = [0; 16];
        boot_id.copy_from_slice(&bytes[..16]);
        Ok(Self {
            boot_id,
            number: word64(bytes, 16),
            gauges_since: word64(bytes, 24),
            label_sets: word32(bytes, 32),
            form: Form::from_code(word32(bytes, 36)),
        })
    }
}

/// A directory entry without its state word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) blob_offset: u32,
    pub(crate) key_length: u32,
    pub(crate) bounds: u32,
    pub(crate) cell: u32,
    pub(crate) cell_words: u32,
}

impl Entry {
    /// The words after the state: checksum first.
    pub(crate) fn encode(&self, blob: &[u8]) -> [u32; 7] {
        let fields =
            [self.kind.code(), self.blob_offset, self.key_length, self.bounds, self.cell, self.cell_words];
        let checksum = Self::checksum(&fields, blob);
        [checksum, fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]]
    }

    fn checksum(fields: &[u32; 6], blob: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for field in fields {
            hasher.update(&field.to_le_bytes());
        }
        hasher.update(blob);
        hasher.finalize()
    }

    /// Reads a committed entry of 64 bytes with its key and bounds out of the whole blob.
    pub(crate) fn decode(
        bytes: &[u8],
        blob: &[u8],
        options: &ArenaOptions,
    ) -> Result<(Self, SeriesKey, Vec<f64>), Error> {
        const DAMAGED: Error = Error::Damaged { what: "directory entry" };
        let fields: [u32; 6] = std::array::from_fn(|index| word32(bytes, 8 + 4 * index));
        let [kind, blob_offset, key_length, bounds, cell, cell_words] = fields;
        let start = blob_offset as usize;
        let length = u64::from(key_length) + u64::from(bounds) * 8;
        let in_cells = u64::from(cell) + u64::from(cell_words) <= u64::from(options.cell_words);
        let own_blob = usize::try_from(length)
            .ok()
            .and_then(|length| blob.get(start..start.checked_add(length)?))
            .filter(|_| in_cells)
            .ok_or(DAMAGED)?;
        if Self::checksum(&fields, own_blob) != word32(bytes, 4) {
            return Err(DAMAGED);
        }
        let kind = Kind::from_code(kind).ok_or(DAMAGED)?;
        let (key, bound_bytes) = own_blob.split_at(key_length as usize);
        let bound_values =
            bound_bytes.as_chunks::<8>().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect();
        let entry = Self { kind, blob_offset, key_length, bounds, cell, cell_words };
        Ok((entry, SeriesKey::decode(kind, key)?, bound_values))
    }
}

/// What the directory uses of series, blob and cells: the least that the counters may hold.
pub(crate) fn used(index: &[u8], blob: &[u8], options: &ArenaOptions) -> [(u64, u64); 3] {
    let (mut series, mut blob_end, mut cell_end) = (0, 0, 0);
    for (position, bytes) in index.chunks_exact(ENTRY_LENGTH as usize).enumerate() {
        if word32(bytes, 0) != FREE {
            series = position as u64 + 1;
        }
        if let Ok((entry, ..)) = Entry::decode(bytes, blob, options) {
            let length = (entry.key_length + entry.bounds * 8).next_multiple_of(8);
            blob_end = blob_end.max(u64::from(entry.blob_offset + length));
            cell_end = cell_end.max(u64::from(entry.cell + entry.cell_words));
        }
    }
    [(NEXT_SERIES, series), (NEXT_BLOB, blob_end), (NEXT_CELL, cell_end)]
}

pub(crate) fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

pub(crate) fn word64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { options: ArenaOptions::default(), arena_id: [7; 16], created_unix_nanos: 42 }
    }

    #[test]
    fn a_flipped_bit_in_the_header_is_caught() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes).unwrap(), header());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_flipped_bit_in_the_generation_is_caught() {
        let generation = Generation {
            boot_id: [3; 16],
            number: 9,
            gauges_since: 77,
            label_sets: 1_000,
            form: Form::Exponential,
        };
        let bytes = generation.encode();
        assert_eq!(Generation::decode(&bytes).unwrap(), generation);
        for bit in 0..44 * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Generation::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_flipped_bit_in_an_entry_or_its_key_is_caught() {
        let key = SeriesKey::new(Kind::Histogram, "app.a", vec![("task_name".into(), "t".into())]);
        let mut blob = Vec::new();
        key.encode(&mut blob);
        let key_length = blob.len() as u32;
        blob.extend_from_slice(&1.5_f64.to_le_bytes());
        let entry =
            Entry { kind: Kind::Histogram, blob_offset: 0, key_length, bounds: 1, cell: 0, cell_words: 4 };
        let mut bytes = [0_u8; 64];
        for (index, word) in entry.encode(&blob).iter().enumerate() {
            bytes[4 + index * 4..8 + index * 4].copy_from_slice(&word.to_le_bytes());
        }
        let options = ArenaOptions::default();
        assert_eq!(Entry::decode(&bytes, &blob, &options).unwrap(), (entry, key, vec![1.5]));
        for bit in 4 * 8..32 * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Entry::decode(&flipped, &blob, &options).is_err(), "entry bit {bit}");
        }
        for bit in 0..blob.len() * 8 {
            let mut flipped = blob.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Entry::decode(&bytes, &flipped, &options).is_err(), "key bit {bit}");
        }
    }
}
