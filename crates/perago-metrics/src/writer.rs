//! The directory of a mapped arena: reserve, fill, commit.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::Error;
use crate::ladder::{Form, Ladder};
use crate::layout::{
    self, CELL_COUNTS, COMMITTED, DROPS, ENTRY_LENGTH, Entry, GENERATION, GENERATION_LENGTH, Generation,
    Header, NEXT_BLOB, NEXT_CELL, NEXT_SERIES, RESERVED, word32,
};
use crate::mapping::Mapping;
use crate::series::{Kind, SeriesKey};
use crate::shard::Shards;
use crate::warning::Reason;

/// A mapped arena that this process records into.
#[derive(Debug, Clone)]
pub struct ArenaWriter {
    shards: Arc<Shards>,
}

/// A series that the arena holds, with the bounds that it was made with.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) cell: u32,
    pub(crate) bounds: Vec<f64>,
}

impl ArenaWriter {
    /// Maps the arena at `path`, which the supervisor has made.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let writer = Self { shards: Arc::new(Shards::new(Mapping::open(path)?)) };
        writer.raise_counters();
        Ok(writer)
    }

    pub(crate) fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    fn mapping(&self) -> &Mapping {
        self.shards.mapping()
    }

    /// What the supervisor asks of this generation's recorder.
    pub(crate) fn layout(&self) -> Generation {
        let words = (GENERATION..).step_by(8).take(GENERATION_LENGTH / 8);
        let bytes: Vec<u8> =
            words.flat_map(|at| self.mapping().word(at).load(Ordering::Acquire).to_le_bytes()).collect();
        let stamp = bytes.first_chunk().map(Generation::decode);
        // A damaged stamp is written anew before the next writer; the reader hides this one's gauges.
        stamp.and_then(Result::ok).unwrap_or(Generation {
            boot_id: [0; 16],
            number: 0,
            gauges_since: u64::MAX,
            label_sets: u32::MAX,
            form: Form::Explicit,
        })
    }

    /// Counts a dropped sample or label where the supervisor sees it.
    pub(crate) fn count_drop(&self, reason: Reason) {
        self.mapping().word(DROPS + 8 * reason as u64).fetch_add(1, Ordering::Relaxed);
    }

    /// The committed series. Damaged entries are passed over: the reader reports them.
    pub(crate) fn registered(&self) -> HashMap<SeriesKey, Registered> {
        let (index, blob) = self.mapping().directory();
        let options = &self.mapping().header().options;
        index
            .chunks_exact(ENTRY_LENGTH as usize)
            .filter(|bytes| word32(bytes, 0) == COMMITTED)
            .filter_map(|bytes| Entry::decode(bytes, &blob, options).ok())
            .map(|(entry, key, bounds)| (key, Registered { cell: entry.cell, bounds }))
            .collect()
    }

    /// Adds a series. None if the arena is full.
    pub(crate) fn register(&self, key: &SeriesKey, ladder: &Ladder) -> Option<u32> {
        let options = self.mapping().header().options;
        let bounds: &[f64] = if key.kind() == Kind::Histogram { ladder.bounds() } else { &[] };
        let mut blob = Vec::new();
        key.encode(&mut blob);
        let key_length = blob.len() as u32;
        for bound in bounds {
            blob.extend_from_slice(&bound.to_le_bytes());
        }

        let cell_words = (CELL_COUNTS + bounds.len() + 1) as u32;
        let has_room = [
            (NEXT_BLOB, blob.len() as u64 + 8, options.blob_bytes),
            (NEXT_CELL, u64::from(cell_words), options.cell_words),
            (NEXT_SERIES, 1, options.series),
        ]
        .into_iter()
        .all(|(offset, amount, limit)| {
            self.mapping().word(offset).load(Ordering::Acquire) + amount <= u64::from(limit)
        });
        if !has_room {
            return None;
        }
        let blob_offset = self.take(NEXT_BLOB, blob.len().next_multiple_of(8) as u32, options.blob_bytes)?;
        let cell = self.take(NEXT_CELL, cell_words, options.cell_words)?;
        let index = self.take(NEXT_SERIES, 1, options.series)?;
        let at = Header::entry(index);
        self.mapping().half_word(at).store(RESERVED, Ordering::Release);
        self.mapping().write_blob(blob_offset, &blob);
        let entry = Entry {
            kind: key.kind(),
            blob_offset,
            key_length,
            bounds: bounds.len() as u32,
            cell,
            cell_words,
        };
        for (word, offset) in entry.encode(&blob).into_iter().zip((4..).step_by(4)) {
            self.mapping().half_word(at + offset).store(word, Ordering::Relaxed);
        }
        self.mapping().half_word(at).store(COMMITTED, Ordering::Release);
        Some(cell)
    }

    /// Takes `amount` of what the counter at `offset` hands out up to `limit`.
    fn take(&self, offset: u64, amount: u32, limit: u32) -> Option<u32> {
        let taken = self.mapping().word(offset).fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
            Some(next + u64::from(amount)).filter(|end| *end <= u64::from(limit))
        });
        taken.ok().map(|start| start as u32)
    }

    /// Never lets a counter, which has no checksum, point into what the directory already uses.
    fn raise_counters(&self) {
        let (index, blob) = self.mapping().directory();
        for (offset, used) in layout::used(&index, &blob, &self.mapping().header().options) {
            self.mapping().word(offset).fetch_max(used, Ordering::AcqRel);
        }
    }
}
