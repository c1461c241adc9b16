//! Reading an arena with `pread`: its directory once, its cells at every snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;
use crate::clock;
use crate::file::ArenaFile;
use crate::layout::{
    CELL_COUNTS, CELL_FIRST, CELL_SECOND, COMMITTED, DROPS, ENTRY_LENGTH, Entry, FREE, Header, REDO_ARMED,
    REDO_COUNT, REDO_FIRST, REDO_SECOND, REDO_TARGET, RESERVED, SHARD_USED, SHARD_WORDS, word32,
};
use crate::series::{Kind, SeriesKey};
use crate::warning::REASONS;

/// A series as an arena's directory names it.
#[derive(Debug)]
pub(crate) struct KnownSeries {
    pub(crate) key: Arc<SeriesKey>,
    pub(crate) bounds: Vec<f64>,
    cell: usize,
    words: usize,
}

/// Reads one arena, also while it is written: totals are never below an earlier reading, and a reading of a cell that
/// is written meanwhile may be ahead by the samples of those nanoseconds. The arena of a dead writer is read exactly.
#[derive(Debug)]
pub struct ArenaReader {
    file: ArenaFile,
    series: Vec<KnownSeries>,
    /// For each place in the index whether it has been read, or reported as damaged.
    seen: Vec<bool>,
    words: Vec<u64>,
}

impl ArenaReader {
    /// A reader of `file`.
    pub fn new(file: ArenaFile) -> Self {
        let seen = vec![false; file.options().series as usize];
        Self { file, series: Vec::new(), seen, words: Vec::new() }
    }

    /// The file that it reads.
    pub fn file(&self) -> &ArenaFile {
        &self.file
    }

    /// The path of the file.
    pub fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    pub(crate) fn series(&self) -> &[KnownSeries] {
        &self.series
    }

    /// Reads the entries that were added since. Returns how many entries are damaged: their series are lost.
    pub(crate) fn refresh(&mut self) -> Result<usize, Error> {
        let header = *self.file.header();
        let mut index = vec![0; (u64::from(header.options.series) * ENTRY_LENGTH) as usize];
        self.file.read_at(&mut index, Header::entry(0))?;
        let is_new = |(position, bytes): &(usize, &[u8])| {
            !self.seen[*position] && ![FREE, RESERVED].contains(&word32(bytes, 0))
        };
        let new: Vec<(usize, &[u8])> =
            index.chunks_exact(ENTRY_LENGTH as usize).enumerate().filter(is_new).collect();
        if new.is_empty() {
            return Ok(0);
        }
        let mut blob = vec![0; header.options.blob_bytes as usize];
        self.file.read_at(&mut blob, header.blob())?;
        let mut damaged = 0;
        for (position, bytes) in new {
            self.seen[position] = true;
            match Entry::decode(bytes, &blob, &header.options) {
                Ok((entry, key, bounds)) if word32(bytes, 0) == COMMITTED => self.series.push(KnownSeries {
                    key: Arc::new(key),
                    bounds,
                    cell: entry.cell as usize,
                    words: entry.cell_words as usize,
                }),
                _ => damaged += 1,
            }
        }
        Ok(damaged)
    }

    /// Calls `visit` with each series' place in [`Self::series`] and each of its cells that was ever written.
    pub(crate) fn cells(&mut self, mut visit: impl FnMut(usize, &[u64])) -> Result<(), Error> {
        let header = *self.file.header();
        let end = self.series.iter().map(|series| series.cell + series.words).max().unwrap_or(0);
        for shard in 0..=header.options.shards {
            let mut own = [0; SHARD_WORDS];
            self.read_words(&mut own, header.shard(shard))?;
            if own[SHARD_USED] == 0 {
                continue;
            }
            let mut words = std::mem::take(&mut self.words);
            words.resize(SHARD_WORDS + end, 0);
            let offset = header.shard(shard);
            let read = self.read_words(&mut words, offset).and_then(|()| self.read_words(&mut own, offset));
            if read.is_ok() {
                finish(&mut words, &own);
                for (place, series) in self.series.iter().enumerate() {
                    let start = SHARD_WORDS + series.cell;
                    visit(place, &words[start..start + series.words]);
                }
            }
            self.words = words;
            read?;
        }
        Ok(())
    }

    /// From when on gauges are exported; none of them is if this is another boot, a dead generation or damaged.
    pub(crate) fn gauges_since(&self) -> Result<u64, Error> {
        let current = self.file.generation()?;
        Ok(if current.boot_id == clock::boot_id() { current.gauges_since } else { u64::MAX })
    }

    /// Adds the arena's drop counters to `dropped`.
    pub(crate) fn add_dropped(&self, dropped: &mut [u64; REASONS]) -> Result<(), Error> {
        let mut own = [0; REASONS];
        self.read_words(&mut own, DROPS)?;
        for (total, own) in dropped.iter_mut().zip(own) {
            *total += own;
        }
        Ok(())
    }

    fn read_words(&self, words: &mut [u64], offset: u64) -> Result<(), Error> {
        // SAFETY: any bytes are a valid `u64`, and the slice covers exactly the words' memory.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), size_of_val(words)) };
        self.file.read_at(bytes, offset)
    }
}

/// Finishes, in a copy of a shard, the sample that its owner had begun and not ended when its own words were read
/// `again`. A record that has changed since belongs to an owner that goes on, and may be half of one sample and half of
/// the next: to finish that would give a series another one's sum.
fn finish(words: &mut [u64], again: &[u64; SHARD_WORDS]) {
    let record = REDO_ARMED..=REDO_COUNT;
    if words[record.clone()] != again[record] {
        return;
    }
    let (cell, index) = ((words[REDO_TARGET] >> 32) as usize, (words[REDO_TARGET] & 0xffff_ffff) as usize);
    let base = SHARD_WORDS + cell;
    if words[REDO_ARMED] == 1
        && words.get(base + CELL_COUNTS + index).is_some_and(|count| count + 1 == words[REDO_COUNT])
    {
        words[base + CELL_FIRST] = words[REDO_FIRST];
        words[base + CELL_SECOND] = words[REDO_SECOND];
        words[base + CELL_COUNTS + index] = words[REDO_COUNT];
    }
}

impl KnownSeries {
    /// Value and time of a gauge's cell; none if it was never written.
    pub(crate) fn gauge(&self, cell: &[u64]) -> Option<(f64, u64)> {
        let written = self.key.kind() == Kind::Gauge && cell[CELL_COUNTS] > 0;
        written.then(|| (f64::from_bits(cell[CELL_FIRST]), cell[CELL_SECOND]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: usize = SHARD_WORDS + 8;

    /// A shard with an armed record of a third sample, which makes the sum of the cell 30.
    fn begun() -> Vec<u64> {
        let mut words = vec![0; SHARD_WORDS + 16];
        words[CELL + CELL_FIRST] = 20.0_f64.to_bits();
        words[CELL + CELL_COUNTS] = 2;
        words[REDO_ARMED] = 1;
        words[REDO_TARGET] = 8 << 32;
        words[REDO_FIRST] = 30.0_f64.to_bits();
        words[REDO_COUNT] = 3;
        words
    }

    fn own(words: &[u64]) -> [u64; SHARD_WORDS] {
        *words.first_chunk().unwrap()
    }

    #[test]
    fn a_sample_that_was_begun_is_finished() {
        let mut words = begun();
        let again = own(&words);
        finish(&mut words, &again);
        assert_eq!((words[CELL + CELL_FIRST], words[CELL + CELL_COUNTS]), (30.0_f64.to_bits(), 3));
    }

    #[test]
    fn a_record_that_changes_while_it_is_read_finishes_nothing() {
        let read = begun();
        for changed in REDO_ARMED..=REDO_COUNT {
            let mut words = read.clone();
            let mut again = own(&read);
            again[changed] ^= 1;
            finish(&mut words, &again);
            assert_eq!(words, read, "word {changed}");
        }
    }
}
