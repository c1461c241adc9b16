//! The merged series of a worker: which there are, what they add up to, and what was exported of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::admission::Admission;
use crate::catalogue::check_name;
use crate::ladder::{Ladder, LadderRules};
use crate::layout::{CELL_COUNTS, CELL_FIRST, CELL_SECOND};
use crate::ledger::{self, Encoder, Ledger};
use crate::rules::{OVERFLOW_LABEL, Rules};
use crate::series::{Kind, SeriesKey};
use crate::snapshot::{self, HistogramTotal, Point, Value};
use crate::warning::{REASONS, Reason};

/// The merged series. Places are handed out once, so that a snapshot compares no names.
#[derive(Debug)]
pub(crate) struct Totals {
    places: HashMap<Arc<SeriesKey>, usize>,
    kinds: HashMap<Box<str>, Kind>,
    series: Vec<Total>,
    /// What was merged for this snapshot: the words of each series, laid out as a cell, one after the other.
    merged: Vec<u64>,
    /// What was folded, laid out alike.
    folded: Vec<u64>,
    /// The largest counts and sums exported, laid out alike: neither rounding nor a file that cannot be read may lower
    /// a total.
    exported: Vec<u64>,
    /// The places in the order of their names; empty once another series was added.
    by_name: Vec<usize>,
    pub(crate) admission: Admission,
    ladders: LadderRules,
}

/// Why a series cannot be exported.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) metric_name: String,
    pub(crate) reason: Reason,
}

/// One merged series.
#[derive(Debug)]
struct Total {
    key: Arc<SeriesKey>,
    /// The key as a ledger holds it, for the checkpoint at every export.
    stored_key: Box<[u8]>,
    ladder: Arc<Ladder>,
    bounds: Arc<[f64]>,
    /// Where its words are.
    words: Range<usize>,
    gauge: Option<(f64, u64)>,
    /// For an overflow series, how much of it has been warned about.
    warned: u64,
}

impl Totals {
    pub(crate) fn new(admission: Admission, ladders: LadderRules) -> Self {
        Self {
            places: HashMap::new(),
            kinds: HashMap::new(),
            series: Vec::new(),
            merged: Vec::new(),
            folded: Vec::new(),
            exported: Vec::new(),
            by_name: Vec::new(),
            admission,
            ladders,
        }
    }

    /// Lays out histograms by `ladders` from now on. Every place handed out before is void.
    pub(crate) fn set_ladders(&mut self, ladders: LadderRules, folded: &Ledger) {
        let mut exported = Ledger::default();
        for total in &self.series {
            let words = &self.exported[total.words.clone()];
            if is_counted(words) {
                exported.add(&total.key, &total.bounds, &HistogramTotal::of_words(words));
            }
        }
        self.ladders = ladders;
        self.places.clear();
        self.kinds.clear();
        self.series.clear();
        self.by_name.clear();
        for words in [&mut self.merged, &mut self.folded, &mut self.exported] {
            words.clear();
        }
        self.set_folded(folded);
        self.set_exported(&exported);
    }

    /// Takes `folded` as what is in no arena any more.
    pub(crate) fn set_folded(&mut self, folded: &Ledger) {
        self.folded.fill(0);
        for entry in &folded.entries {
            // What cannot be exported now stays in its file.
            if let Ok(place) = self.place(&entry.key) {
                let Total { words, bounds, .. } = &self.series[place];
                add_rebucketed(&mut self.folded[words.clone()], bounds, &entry.total, &entry.bounds);
            }
        }
    }

    /// Takes `last` as what was exported last, below which no total goes.
    pub(crate) fn set_exported(&mut self, last: &Ledger) {
        for entry in &last.entries {
            if let Ok(place) = self.place(&entry.key) {
                let total = &mut self.series[place];
                let words = &mut self.exported[total.words.clone()];
                words[CELL_FIRST] = entry.total.exact_sum().to_bits();
                // With other bounds, a count that moves to another bucket is still counted once.
                if total.bounds == entry.bounds {
                    words[CELL_COUNTS..].copy_from_slice(&entry.total.counts);
                }
                total.warned = entry.total.count();
            }
        }
    }

    /// The ledger of what was exported last; `buffer` lends its memory.
    pub(crate) fn exported(&self, dropped: [u64; REASONS], buffer: Vec<u8>) -> [Vec<u8>; 3] {
        let mut encoder = Encoder::new(buffer, &[], dropped);
        for total in &self.series {
            let words = &self.exported[total.words.clone()];
            if is_counted(words) {
                encoder.add(&total.stored_key, &total.bounds, words);
            }
        }
        encoder.finish()
    }

    /// Begins a snapshot with what was folded.
    pub(crate) fn clear(&mut self) {
        self.merged.copy_from_slice(&self.folded);
        for total in &mut self.series {
            total.gauge = None;
        }
    }

    /// The place of `key`, or of its metric's overflow series.
    pub(crate) fn place(&mut self, key: &Arc<SeriesKey>) -> Result<usize, Refusal> {
        if let Some(place) = self.places.get(key) {
            return Ok(*place);
        }
        check_name(&self.kinds, key.kind(), key.name())
            .map_err(|reason| Refusal { metric_name: key.name().to_owned(), reason })?;
        if let Some(overflow) = self.overflow(key) {
            return self.place(&overflow);
        }
        self.kinds.insert(key.name().into(), key.kind());
        let ladder = Arc::clone(self.ladders.ladder(key.name()));
        let bounds: Arc<[f64]> = match key.kind() {
            Kind::Histogram => ladder.shared_bounds(),
            Kind::Gauge | Kind::Counter => Arc::new([]),
        };
        let start = self.merged.len();
        let words = start..start + CELL_COUNTS + bounds.len() + 1;
        for all in [&mut self.merged, &mut self.folded, &mut self.exported] {
            all.resize(words.end, 0);
        }
        let stored_key = ledger::stored_key(key);
        let key = Arc::clone(key);
        self.places.insert(Arc::clone(&key), self.series.len());
        self.series.push(Total { key, stored_key, ladder, bounds, words, gauge: None, warned: 0 });
        self.by_name.clear();
        Ok(self.series.len() - 1)
    }

    /// The key that `key` is exported under if its label set is beyond the cap.
    pub(crate) fn overflow(&mut self, key: &SeriesKey) -> Option<Arc<SeriesKey>> {
        (key.has_user_labels() && !self.admission.admits(key)).then(|| Arc::new(Rules::overflow_key(key)))
    }

    /// Where the words of the series at `place` are, for [`Self::absorb`].
    pub(crate) fn words(&self, place: usize) -> Range<usize> {
        self.series[place].words.clone()
    }

    /// Adds a cell of the same bounds to the series whose words are there.
    #[inline]
    pub(crate) fn absorb(&mut self, words: Range<usize>, cell: &[u64]) {
        snapshot::absorb(&mut self.merged[words], cell);
    }

    /// Adds a total of other bounds.
    pub(crate) fn add_rebucketed(&mut self, place: usize, total: &HistogramTotal, bounds: &[f64]) {
        let own = &self.series[place];
        add_rebucketed(&mut self.merged[own.words.clone()], &own.bounds, total, bounds);
    }

    /// Takes a gauge's value if it was written later than the one it has.
    pub(crate) fn set(&mut self, place: usize, written: Option<(f64, u64)>) {
        let gauge = &mut self.series[place].gauge;
        if let Some((value, time)) = written
            && gauge.is_none_or(|(_, latest)| latest < time)
        {
            *gauge = Some((value, time));
        }
    }

    /// Whether a histogram of these bounds is added to the series at `place` bucket by bucket.
    pub(crate) fn has_bounds(&self, place: usize, bounds: &[f64]) -> bool {
        *self.series[place].bounds == *bounds
    }

    /// All series that have a value, those of one metric together, and whether any total grew.
    pub(crate) fn points(&mut self) -> (Vec<Point>, bool) {
        if self.by_name.len() != self.series.len() {
            self.by_name = (0..self.series.len()).collect();
            self.by_name
                .sort_by(|left, right| self.series[*left].key.name().cmp(self.series[*right].key.name()));
        }
        let mut grew = false;
        let mut points = Vec::with_capacity(self.series.len());
        for place in &self.by_name {
            let total = &self.series[*place];
            let exported = &mut self.exported[total.words.clone()];
            grew |= advance(exported, &self.merged[total.words.clone()]);
            points.extend(total.point(exported));
        }
        (points, grew)
    }

    /// The metrics whose overflow series grew since the last call, each with how much.
    pub(crate) fn grown_overflows(&mut self) -> Vec<(Arc<SeriesKey>, u64)> {
        let is_overflow =
            |total: &&mut Total| total.key.labels().iter().any(|(label, _)| **label == *OVERFLOW_LABEL);
        let mut grown = Vec::new();
        for total in self.series.iter_mut().filter(is_overflow) {
            let now = match total.key.kind() {
                Kind::Histogram | Kind::Counter => count(&self.exported[total.words.clone()]),
                // A gauge has no count; its time moves with each write.
                Kind::Gauge => total.gauge.map_or(total.warned, |(_, time)| time),
            };
            if now != total.warned {
                let growth = if total.key.kind() == Kind::Gauge { 1 } else { now.wrapping_sub(total.warned) };
                grown.push((Arc::clone(&total.key), growth));
                total.warned = now;
            }
        }
        grown
    }
}

impl Total {
    /// The value that `exported`, or the gauge, holds.
    fn point(&self, exported: &[u64]) -> Option<Point> {
        let (counts, sum) = (&exported[CELL_COUNTS..], f64::from_bits(exported[CELL_FIRST]));
        let value = match (self.key.kind(), self.ladder.exponential_offset()) {
            (Kind::Gauge, _) => Value::Gauge(self.gauge?.0),
            _ if !is_counted(exported) => return None,
            (Kind::Counter, _) => Value::Counter(sum),
            (Kind::Histogram, Some(first)) => exponential(first, self.bounds[0], counts, sum),
            (Kind::Histogram, None) => {
                Value::Histogram { bounds: Arc::clone(&self.bounds), counts: counts.to_vec(), sum }
            }
        };
        Some(Point { key: Arc::clone(&self.key), value })
    }
}

/// Whether anything is counted in words that are laid out as a cell.
fn is_counted(words: &[u64]) -> bool {
    words[CELL_COUNTS..].iter().any(|count| *count > 0)
}

fn count(words: &[u64]) -> u64 {
    words[CELL_COUNTS..].iter().fold(0, |sum, count| sum.wrapping_add(*count))
}

fn add_rebucketed(words: &mut [u64], bounds: &[f64], other: &HistogramTotal, other_bounds: &[f64]) {
    let mut total = HistogramTotal::of_words(words);
    total.merge_rebucketed(bounds, other, other_bounds);
    words.copy_from_slice(&total.words());
}

/// Raises what is exported to what was merged. Returns whether anything rose.
fn advance(exported: &mut [u64], merged: &[u64]) -> bool {
    let mut risen = 0;
    for (exported, merged) in exported[CELL_COUNTS..].iter_mut().zip(&merged[CELL_COUNTS..]) {
        let next = (*exported).max(*merged);
        risen |= next ^ *exported;
        *exported = next;
    }
    let sum = f64::from_bits(merged[CELL_FIRST]) + f64::from_bits(merged[CELL_SECOND]);
    let has_risen = sum.is_finite() && sum > f64::from_bits(exported[CELL_FIRST]);
    if has_risen {
        exported[CELL_FIRST] = sum.to_bits();
    }
    has_risen || risen != 0
}

/// Counts by the bounds of an exponential ladder: the first up to the zero threshold, then the buckets from `first` on.
fn exponential(first: i32, zero_threshold: f64, counts: &[u64], sum: f64) -> Value {
    let buckets = &counts[1..];
    let start = buckets.iter().position(|count| *count > 0).unwrap_or(0);
    let end = buckets.iter().rposition(|count| *count > 0).map_or(start, |last| last + 1);
    Value::Exponential {
        zero_threshold,
        zero_count: counts[0],
        offset: first + start as i32,
        counts: buckets[start..end].to_vec(),
        sum,
    }
}
