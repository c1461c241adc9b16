//! The merged series of a worker: which there are, what they add up to, and what was exported of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::admission::Admission;
use crate::catalogue::check_name;
use crate::ladder::{Ladder, LadderRules};
use crate::ledger::{self, Encoder, Ledger};
use crate::rules::{OVERFLOW_LABEL, Rules};
use crate::series::{Kind, SeriesKey};
use crate::snapshot::{HistogramTotal, Point, Value};
use crate::warning::{REASONS, Reason};

/// The merged series. Places are handed out once, so that a snapshot compares no names.
#[derive(Debug)]
pub(crate) struct Totals {
    places: HashMap<Arc<SeriesKey>, usize>,
    kinds: HashMap<Box<str>, Kind>,
    series: Vec<Total>,
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
pub(crate) struct Total {
    key: Arc<SeriesKey>,
    /// The key as a ledger holds it, for the checkpoint at every export.
    stored_key: Box<[u8]>,
    ladder: Arc<Ladder>,
    bounds: Arc<[f64]>,
    /// What was folded, in these bounds.
    folded: Option<HistogramTotal>,
    pub(crate) histogram: HistogramTotal,
    /// The largest counts and sum exported: neither rounding nor a file that cannot be read may lower a total.
    exported: HistogramTotal,
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
            by_name: Vec::new(),
            admission,
            ladders,
        }
    }

    /// Lays out histograms by `ladders` from now on. Every place handed out before is void.
    pub(crate) fn set_ladders(&mut self, ladders: LadderRules, folded: &Ledger) {
        let mut exported = Ledger::default();
        for total in self.series.iter().filter(|total| total.was_exported()) {
            exported.add(&total.key, &total.bounds, &total.exported);
        }
        self.ladders = ladders;
        self.places.clear();
        self.kinds.clear();
        self.series.clear();
        self.by_name.clear();
        self.set_folded(folded);
        self.set_exported(&exported);
    }

    /// Takes `folded` as what is in no arena any more.
    pub(crate) fn set_folded(&mut self, folded: &Ledger) {
        for total in &mut self.series {
            total.folded = None;
        }
        for entry in &folded.entries {
            // What cannot be exported now stays in its file.
            if let Ok(place) = self.place(&entry.key) {
                let total = &mut self.series[place];
                let buckets = total.bounds.len() + 1;
                let own = total.folded.get_or_insert_with(|| HistogramTotal::new(buckets));
                own.merge_rebucketed(&total.bounds, &entry.total, &entry.bounds);
            }
        }
    }

    /// Takes `last` as what was exported last, below which no total goes.
    pub(crate) fn set_exported(&mut self, last: &Ledger) {
        for entry in &last.entries {
            if let Ok(place) = self.place(&entry.key) {
                let total = &mut self.series[place];
                if total.bounds == entry.bounds {
                    total.exported = entry.total.clone();
                } else {
                    // A count that moves to another bucket is still counted once.
                    total.exported.sum = entry.total.exact_sum();
                }
                total.warned = entry.total.count();
            }
        }
    }

    /// The ledger of what was exported last; `buffer` lends its memory.
    pub(crate) fn exported(&self, dropped: [u64; REASONS], buffer: Vec<u8>) -> [Vec<u8>; 3] {
        let mut encoder = Encoder::new(buffer, &[], dropped);
        for total in self.series.iter().filter(|total| total.was_exported()) {
            encoder.add(&total.stored_key, &total.bounds, total.exported.sum, 0.0, &total.exported.counts);
        }
        encoder.finish()
    }

    /// Begins a snapshot with what was folded.
    pub(crate) fn clear(&mut self) {
        for total in &mut self.series {
            match &total.folded {
                Some(folded) => total.histogram.clone_from(folded),
                None => total.histogram.clear(),
            }
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
        let histogram = HistogramTotal::new(bounds.len() + 1);
        self.series.push(Total {
            key: Arc::clone(key),
            stored_key: ledger::stored_key(key),
            ladder,
            bounds,
            folded: None,
            exported: histogram.clone(),
            histogram,
            gauge: None,
            warned: 0,
        });
        self.by_name.clear();
        self.places.insert(Arc::clone(key), self.series.len() - 1);
        Ok(self.series.len() - 1)
    }

    /// The key that `key` is exported under if its label set is beyond the cap.
    pub(crate) fn overflow(&mut self, key: &SeriesKey) -> Option<Arc<SeriesKey>> {
        (key.has_user_labels() && !self.admission.admits(key)).then(|| Arc::new(Rules::overflow_key(key)))
    }

    /// The series at a place.
    pub(crate) fn at(&mut self, place: usize) -> &mut Total {
        &mut self.series[place]
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
            let total = &mut self.series[*place];
            grew |= total.advance();
            points.extend(total.point());
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
                Kind::Histogram | Kind::Counter => total.exported.count(),
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
    /// The upper bounds.
    pub(crate) fn bounds(&self) -> &Arc<[f64]> {
        &self.bounds
    }

    /// Takes a gauge's value if it was written later than the one it has.
    pub(crate) fn set(&mut self, written: Option<(f64, u64)>) {
        if let Some((value, time)) = written
            && self.gauge.is_none_or(|(_, latest)| latest < time)
        {
            self.gauge = Some((value, time));
        }
    }

    fn was_exported(&self) -> bool {
        self.exported.counts.iter().any(|count| *count > 0)
    }

    /// Raises what is exported to what was merged. Returns whether anything rose.
    fn advance(&mut self) -> bool {
        let mut risen = 0;
        for (exported, now) in self.exported.counts.iter_mut().zip(&self.histogram.counts) {
            let next = (*exported).max(*now);
            risen |= next ^ *exported;
            *exported = next;
        }
        let sum = self.histogram.exact_sum();
        let has_risen = sum.is_finite() && sum > self.exported.sum;
        if has_risen {
            self.exported.sum = sum;
        }
        has_risen || risen != 0
    }

    fn point(&self) -> Option<Point> {
        let value = match self.key.kind() {
            Kind::Gauge => Value::Gauge(self.gauge?.0),
            Kind::Histogram | Kind::Counter if !self.was_exported() => return None,
            Kind::Counter => Value::Counter(self.exported.sum),
            Kind::Histogram => {
                let (counts, sum) = (&self.exported.counts, self.exported.sum);
                match self.ladder.exponential_offset() {
                    None => {
                        Value::Histogram { bounds: Arc::clone(&self.bounds), counts: counts.clone(), sum }
                    }
                    Some(first) => exponential(first, self.bounds[0], counts, sum),
                }
            }
        };
        Some(Point { key: Arc::clone(&self.key), value })
    }
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
