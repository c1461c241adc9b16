//! Totals of series: how cells add up, and what an exporter is given.

use std::sync::Arc;

use crate::layout::{CELL_COUNTS, CELL_FIRST, CELL_SECOND};
use crate::series::SeriesKey;
use crate::shard::add_compensated;
use crate::warning::REASONS;

/// Counts by bucket and the sum of all values.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramTotal {
    /// One count for each bucket, the one above every bound last.
    pub counts: Vec<u64>,
    /// The sum of the values.
    pub sum: f64,
    lost: f64,
}

impl HistogramTotal {
    /// No values yet, in `buckets` buckets.
    pub fn new(buckets: usize) -> Self {
        Self { counts: vec![0; buckets], sum: 0.0, lost: 0.0 }
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        // A damaged cell may hold any number.
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The sum with what rounding took from it.
    pub fn exact_sum(&self) -> f64 {
        (self.sum + self.lost).min(f64::MAX)
    }

    /// Adds another total of the same buckets. The order of additions does not matter.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.counts.iter_mut().zip(&other.counts) {
            *own = own.wrapping_add(*other);
        }
        self.add_sum(other.sum, other.lost);
    }

    /// Adds a total of other bounds: each old bucket goes into the first of `bounds` that is not below its own.
    pub fn merge_rebucketed(&mut self, bounds: &[f64], other: &Self, other_bounds: &[f64]) {
        for (index, count) in other.counts.iter().enumerate() {
            let target = other_bounds
                .get(index)
                .map_or(bounds.len(), |upper| bounds.partition_point(|bound| bound < upper));
            self.counts[target] = self.counts[target].wrapping_add(*count);
        }
        self.add_sum(other.sum, other.lost);
    }

    /// Adds a cell of the same buckets.
    pub(crate) fn absorb(&mut self, cell: &[u64]) {
        let mut words = self.words();
        absorb(&mut words, cell);
        *self = Self::of_words(&words);
    }

    /// The total that words laid out as a cell hold.
    pub(crate) fn of_words(words: &[u64]) -> Self {
        let (sum, lost) = (f64::from_bits(words[CELL_FIRST]), f64::from_bits(words[CELL_SECOND]));
        Self { counts: words[CELL_COUNTS..].to_vec(), sum, lost }
    }

    /// This total in words laid out as a cell.
    pub(crate) fn words(&self) -> Vec<u64> {
        [self.sum.to_bits(), self.lost.to_bits()].into_iter().chain(self.counts.iter().copied()).collect()
    }

    fn add_sum(&mut self, sum: f64, lost: f64) {
        (self.sum, self.lost) = add_compensated(self.sum, self.lost, sum);
        self.lost += lost;
    }

    /// What is missing here of `expected`, which has the same buckets. None if nothing is, but for rounding.
    pub(crate) fn missing_of(&self, expected: &Self) -> Option<Self> {
        let missing =
            expected.counts.iter().zip(&self.counts).map(|(expected, own)| expected.saturating_sub(*own));
        let counts: Vec<u64> = missing.collect();
        let sum = expected.exact_sum() - self.exact_sum();
        let is_rounding = counts.iter().all(|count| *count == 0) && sum <= expected.exact_sum() * 1e-9;
        (!is_rounding).then(|| Self { counts, sum: sum.max(0.0), lost: 0.0 })
    }
}

/// Adds a cell to words that are laid out alike.
#[inline]
pub(crate) fn absorb(words: &mut [u64], cell: &[u64]) {
    for (own, other) in words[CELL_COUNTS..].iter_mut().zip(&cell[CELL_COUNTS..]) {
        *own = own.wrapping_add(*other);
    }
    let [sum, lost] = [CELL_FIRST, CELL_SECOND].map(|word| f64::from_bits(cell[word]));
    // What no recorder writes is damage, and must not spoil the sums of other threads.
    if sum >= 0.0 && (sum + lost).is_finite() {
        let [own_sum, own_lost] = [CELL_FIRST, CELL_SECOND].map(|word| f64::from_bits(words[word]));
        let (own_sum, own_lost) = add_compensated(own_sum, own_lost, sum);
        words[CELL_FIRST] = own_sum.to_bits();
        words[CELL_SECOND] = (own_lost + lost).to_bits();
    }
}

/// The value of one series at one time.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Counts and sum since the snapshot's start time.
    Histogram {
        /// The upper bounds of all buckets but the last.
        bounds: Arc<[f64]>,
        /// One count for each bucket.
        counts: Vec<u64>,
        /// The sum of all values.
        sum: f64,
    },
    /// Counts and sum since the snapshot's start time, in exponential buckets of [`crate::EXPONENTIAL_SCALE`].
    Exponential {
        /// Values up to here are counted as zero.
        zero_threshold: f64,
        /// How many they are.
        zero_count: u64,
        /// The index of the first bucket.
        offset: i32,
        /// One count for each bucket, from the first to the last that holds a value. Values above the range that is
        /// covered are in the bucket that follows it.
        counts: Vec<u64>,
        /// The sum of all values.
        sum: f64,
    },
    /// The latest value.
    Gauge(f64),
    /// A total since the snapshot's start time.
    Counter(f64),
}

/// One series and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Name, labels and kind.
    pub key: Arc<SeriesKey>,
    /// The value.
    pub value: Value,
}

/// All series of a worker at one time, merged over its arenas.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Since when totals count, in nanoseconds since 1970. It moves exactly when a total may have gone backwards.
    pub start_unix_nanos: u64,
    /// When it was taken.
    pub time_unix_nanos: u64,
    /// The series, each once, those of one metric together.
    pub points: Vec<Point>,
    /// Drops since the start, by [`crate::Reason`].
    pub dropped: [u64; REASONS],
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total() -> impl Strategy<Value = HistogramTotal> {
        proptest::collection::vec((0_usize..4, 0_u32..1_000_000), 0..50).prop_map(|values| {
            let mut total = HistogramTotal::new(4);
            for (bucket, value) in values {
                let mut one = HistogramTotal::new(4);
                one.counts[bucket] = 1;
                one.sum = f64::from(value);
                total.merge(&one);
            }
            total
        })
    }

    fn merged(parts: &[&HistogramTotal]) -> HistogramTotal {
        let mut all = HistogramTotal::new(4);
        for part in parts {
            all.merge(part);
        }
        all
    }

    proptest! {
        #[test]
        fn merging_is_commutative_and_associative(first in total(), second in total(), third in total()) {
            prop_assert_eq!(merged(&[&first, &second]), merged(&[&second, &first]));
            let left = merged(&[&merged(&[&first, &second]), &third]);
            let right = merged(&[&first, &merged(&[&second, &third])]);
            prop_assert_eq!(left, right);
        }

        #[test]
        fn other_sums_are_merged_within_rounding(
            values in proptest::collection::vec(0.0..1e9_f64, 1..200),
            split in 0_usize..200,
        ) {
            let whole = |values: &[f64]| {
                let mut total = HistogramTotal::new(1);
                for value in values {
                    total.merge(&HistogramTotal { counts: vec![1], sum: *value, lost: 0.0 });
                }
                total
            };
            let (left, right) = values.split_at(split.min(values.len()));
            let mut parts = whole(left);
            parts.merge(&whole(right));
            let expected = whole(&values).exact_sum();
            prop_assert!((parts.exact_sum() - expected).abs() <= expected * 1e-12);
        }

        #[test]
        fn other_bounds_keep_every_count_and_never_lower_a_bucket(
            counts in proptest::collection::vec(0_u64..100, 4),
            bounds in proptest::collection::btree_set(0_i32..60, 1..6),
        ) {
            let old = HistogramTotal { counts, sum: 5.0, lost: 0.0 };
            let old_bounds = [10.0, 20.0, 40.0];
            let bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
            let mut new = HistogramTotal::new(bounds.len() + 1);
            new.merge_rebucketed(&bounds, &old, &old_bounds);
            prop_assert_eq!(new.count(), old.count());
            prop_assert_eq!(new.exact_sum().to_bits(), 5.0_f64.to_bits());
            for (index, bound) in bounds.iter().enumerate() {
                // What is counted at or below a new bound was at or below it before.
                let below_new: u64 = new.counts[..=index].iter().sum();
                let below_old: u64 = old.counts.iter().zip(&old_bounds).filter(|(_, old)| *old <= bound)
                    .map(|(count, _)| count).sum();
                prop_assert_eq!(below_new, below_old);
            }
        }
    }
}
