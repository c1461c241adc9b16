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

/// How much of a shard is read at once: what a processor's second cache holds beside the totals.
const CHUNK_WORDS: usize = 16 * 1024;

/// A series as an arena's directory names it.
#[derive(Debug)]
pub(crate) struct KnownSeries {
    pub(crate) key: Arc<SeriesKey>,
    pub(crate) bounds: Arc<[f64]>,
    cell: usize,
    words: usize,
}

/// Reads one arena, also while it is written: totals are never below an earlier reading, and a reading of a cell that
/// is written meanwhile may be ahead by the samples of those nanoseconds. The arena of a dead writer is read exactly.
#[derive(Debug)]
pub struct ArenaReader {
    file: ArenaFile,
    series: Vec<KnownSeries>,
    /// The places of the series in the order of their cells.
    by_cell: Vec<usize>,
    /// For each place in the index whether it has been read, or reported as damaged.
    seen: Vec<bool>,
    words: Vec<u64>,
}

impl ArenaReader {
    /// A reader of `file`.
    pub fn new(file: ArenaFile) -> Self {
        let seen = vec![false; file.options().series as usize];
        Self { file, series: Vec::new(), by_cell: Vec::new(), seen, words: Vec::new() }
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
                    bounds: bounds.into(),
                    cell: entry.cell as usize,
                    words: entry.cell_words as usize,
                }),
                _ => damaged += 1,
            }
        }
        self.by_cell = (0..self.series.len()).collect();
        self.by_cell.sort_by_key(|place| self.series[*place].cell);
        Ok(damaged)
    }

    /// Calls `visit` with each series' place in [`Self::series`] and each of its cells that was ever written.
    pub(crate) fn cells(&mut self, mut visit: impl FnMut(usize, &[u64])) -> Result<(), Error> {
        let header = *self.file.header();
        let mut words = std::mem::take(&mut self.words);
        let mut read = Ok(());
        for shard in 0..=header.options.shards {
            read = self.shard_cells(header.shard(shard), &mut words, &mut visit);
            if read.is_err() {
                break;
            }
        }
        self.words = words;
        read
    }

    /// Visits the cells of the shard at `offset`, some at a time, so that a copy is still in the processor's cache when
    /// it is added up.
    fn shard_cells(
        &self,
        offset: u64,
        words: &mut Vec<u64>,
        visit: &mut impl FnMut(usize, &[u64]),
    ) -> Result<(), Error> {
        let mut own = [0; SHARD_WORDS];
        self.read_words(&mut own, offset)?;
        if own[SHARD_USED] == 0 {
            return Ok(());
        }
        let mut places = &self.by_cell[..];
        while let Some(first) = places.first() {
            let start = self.series[*first].cell;
            let fits = |place: &usize| {
                let series = &self.series[*place];
                series.cell + series.words <= start + CHUNK_WORDS.max(self.series[*first].words)
            };
            let (chunk, rest) = places.split_at(places.iter().take_while(|place| fits(place)).count());
            places = rest;
            let end = chunk.last().map_or(start, |last| self.series[*last].cell + self.series[*last].words);
            words.resize(end - start, 0);
            self.read_words(words, offset + ((SHARD_WORDS + start) * 8) as u64)?;
            if begun(&own, start, words).is_some() {
                let mut again = [0; SHARD_WORDS];
                self.read_words(&mut again, offset)?;
                finish(&own, &again, start, words);
            }
            for place in chunk {
                let series = &self.series[*place];
                visit(*place, &words[series.cell - start..][..series.words]);
            }
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

/// Where, in a copy of the cells from `start` on, the sample goes that the shard's owner had begun and not ended.
fn begun(own: &[u64; SHARD_WORDS], start: usize, words: &[u64]) -> Option<(usize, usize)> {
    let (cell, index) = ((own[REDO_TARGET] >> 32) as usize, (own[REDO_TARGET] & 0xffff_ffff) as usize);
    let base = cell.checked_sub(start).filter(|_| own[REDO_ARMED] == 1)?;
    let count = words.get(base + CELL_COUNTS + index)?;
    (count.wrapping_add(1) == own[REDO_COUNT]).then_some((base, index))
}

/// Finishes that sample, if the owner's words are the same when they are read `again`. A record that has changed belongs
/// to an owner that goes on, and what was read of it may be half of one sample and half of the next: to finish that
/// would give a series another one's sum.
fn finish(own: &[u64; SHARD_WORDS], again: &[u64; SHARD_WORDS], start: usize, words: &mut [u64]) {
    if own[REDO_ARMED..=REDO_COUNT] == again[REDO_ARMED..=REDO_COUNT]
        && let Some((base, index)) = begun(own, start, words)
    {
        words[base + CELL_FIRST] = own[REDO_FIRST];
        words[base + CELL_SECOND] = own[REDO_SECOND];
        words[base + CELL_COUNTS + index] = own[REDO_COUNT];
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

    const START: usize = 4;
    const CELL: usize = 8;

    /// An armed record of a third sample, which makes the sum of the cell 30, and a copy of cells.
    fn third_sample() -> ([u64; SHARD_WORDS], Vec<u64>) {
        let mut own = [0; SHARD_WORDS];
        own[REDO_ARMED] = 1;
        own[REDO_TARGET] = (CELL as u64) << 32;
        own[REDO_FIRST] = 30.0_f64.to_bits();
        own[REDO_COUNT] = 3;
        let mut words = vec![0; 16];
        words[CELL - START + CELL_FIRST] = 20.0_f64.to_bits();
        words[CELL - START + CELL_COUNTS] = 2;
        (own, words)
    }

    #[test]
    fn a_sample_that_was_begun_is_finished() {
        let (own, mut words) = third_sample();
        finish(&own, &own, START, &mut words);
        let cell = &words[CELL - START..];
        assert_eq!((cell[CELL_FIRST], cell[CELL_COUNTS]), (30.0_f64.to_bits(), 3));
    }

    #[test]
    fn a_record_of_another_part_or_of_a_finished_sample_changes_nothing() {
        let (own, words) = third_sample();
        for start in [CELL + 1, usize::MAX] {
            assert_eq!(begun(&own, start, &words), None);
        }
        let mut finished = words.clone();
        finish(&own, &own, START, &mut finished);
        assert_eq!(begun(&own, START, &finished), None);
        assert_eq!(begun(&own, START, &words[..4]), None);
    }

    #[test]
    fn a_record_that_changes_while_it_is_read_finishes_nothing() {
        let (own, read) = third_sample();
        for changed in REDO_ARMED..=REDO_COUNT {
            let (mut again, mut words) = (own, read.clone());
            again[changed] ^= 1;
            finish(&own, &again, START, &mut words);
            assert_eq!(words, read, "word {changed}");
        }
    }
}
