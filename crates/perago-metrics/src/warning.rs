//! Warnings about recorded content: why something was dropped or changed, and how often that is said.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Why a sample was dropped or a label was dropped or changed. The discriminant is the counter's place in an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// The name is empty, longer than 255 bytes with its prefix, or has a character outside `[A-Za-z0-9_.\-/]`.
    InvalidName = 0,
    /// The value is NaN or infinite.
    NotFinite = 1,
    /// A histogram was given a negative value.
    Negative = 2,
    /// The name is in use as another kind of metric.
    KindClash = 3,
    /// The name is a histogram's name plus `_bucket`, `_sum` or `_count`, or would make another metric so.
    SeriesClash = 4,
    /// The label belongs to Perago or identifies one attempt.
    ReservedLabel = 5,
    /// The label's key is empty or `None`.
    EmptyLabelKey = 6,
    /// The label's key or value was not a string and was converted.
    LabelConverted = 7,
    /// Name and labels together are longer than an arena entry may be.
    LabelsTooLong = 8,
    /// More label sets than the cap; the sample went to the metric's overflow series.
    LabelSets = 9,
    /// The arena has no room for another series; the sample was dropped.
    ArenaFull = 10,
    /// The shard shared by threads beyond the arena's own shards stayed busy; the sample was dropped.
    ShardBusy = 11,
    /// The name has capitals, which other recorders of this metric lower-cased.
    NameCase = 12,
    /// The mapping of labels raised when it was read.
    LabelsUnreadable = 13,
}

/// The number of [`Reason`]s.
pub const REASONS: usize = 14;

impl Reason {
    /// Every reason, in the order of its counter.
    pub const ALL: [Self; REASONS] = [
        Self::InvalidName,
        Self::NotFinite,
        Self::Negative,
        Self::KindClash,
        Self::SeriesClash,
        Self::ReservedLabel,
        Self::EmptyLabelKey,
        Self::LabelConverted,
        Self::LabelsTooLong,
        Self::LabelSets,
        Self::ArenaFull,
        Self::ShardBusy,
        Self::NameCase,
        Self::LabelsUnreadable,
    ];

    /// The stable word for logs and counters.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidName => "invalid_name",
            Self::NotFinite => "value_not_finite",
            Self::Negative => "value_negative",
            Self::KindClash => "kind_clash",
            Self::SeriesClash => "series_clash",
            Self::ReservedLabel => "reserved_label",
            Self::EmptyLabelKey => "empty_label_key",
            Self::LabelConverted => "label_converted",
            Self::LabelsTooLong => "labels_too_long",
            Self::LabelSets => "label_sets_exceeded",
            Self::ArenaFull => "arena_full",
            Self::ShardBusy => "shard_busy",
            Self::NameCase => "name_case",
            Self::LabelsUnreadable => "labels_unreadable",
        }
    }

    /// Whether occurrences are counted: a name's case is warned about, and nothing is dropped or changed.
    pub fn is_counted(self) -> bool {
        self != Self::NameCase
    }

    /// Whether the whole sample was lost, rather than a label dropped or changed.
    pub fn drops_sample(self) -> bool {
        !matches!(
            self,
            Self::ReservedLabel
                | Self::EmptyLabelKey
                | Self::LabelConverted
                | Self::LabelSets
                | Self::NameCase
        )
    }
}

/// One warning, as fields for a structured log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricWarning {
    /// The name as exported, or as written where it cannot be exported.
    pub metric_name: String,
    /// The label at fault, empty where the name or the value is.
    pub label_key: String,
    /// The value that stands in place of the user's: the label that Perago exports, `<reserved>`, or empty.
    pub perago_label_value: String,
    /// What the user gave and is not exported so.
    pub ignored_user_label_value: String,
    /// Why.
    pub reason: Reason,
}

/// Receives the warnings that the throttle lets through.
pub trait WarningSink: Send + Sync {
    /// Takes one warning. Must not record metrics.
    fn warn(&self, warning: MetricWarning);
}

impl<F: Fn(MetricWarning) + Send + Sync> WarningSink for F {
    fn warn(&self, warning: MetricWarning) {
        self(warning);
    }
}

/// At most one warning a minute for each metric, reason and reserved label.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: HashMap<(String, Reason, String), Instant>,
}

impl Throttle {
    const PERIOD: Duration = Duration::from_secs(60);
    /// Beyond this many metrics at fault, the names themselves are unbounded and share one allowance a reason.
    const TRACKED: usize = 512;

    /// Whether this warning may be given `now`.
    pub(crate) fn admits(
        &mut self,
        metric_name: &str,
        reason: Reason,
        label_key: &str,
        now: Instant,
    ) -> bool {
        // Only the reserved keys are a bounded set.
        let label_key = if reason == Reason::ReservedLabel { label_key } else { "" };
        let mut key = (metric_name.to_owned(), reason, label_key.to_owned());
        if self.last.len() >= Self::TRACKED && !self.last.contains_key(&key) {
            key = (String::new(), reason, String::new());
        }
        match self.last.get(&key) {
            Some(_) if reason == Reason::NameCase => false,
            Some(last) if now.duration_since(*last) < Self::PERIOD => false,
            _ => {
                self.last.insert(key, now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_and_then_at_most_once_a_minute() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        assert!(throttle.admits("app.a", Reason::NotFinite, "", start));
        assert!(!throttle.admits("app.a", Reason::NotFinite, "", start + Duration::from_secs(59)));
        assert!(throttle.admits("app.a", Reason::Negative, "", start));
        assert!(throttle.admits("app.b", Reason::NotFinite, "", start));
        assert!(throttle.admits("app.a", Reason::NotFinite, "", start + Duration::from_secs(60)));
    }

    #[test]
    fn each_reserved_label_is_named_once() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        assert!(throttle.admits("app.a", Reason::ReservedLabel, "task_id", now));
        assert!(throttle.admits("app.a", Reason::ReservedLabel, "worker_id", now));
        assert!(!throttle.admits("app.a", Reason::ReservedLabel, "worker_id", now));
    }

    #[test]
    fn endless_names_share_one_allowance() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let admitted =
            (0..10_000).filter(|n| throttle.admits(&format!("app.{n}"), Reason::Negative, "", now)).count();
        assert_eq!(admitted, Throttle::TRACKED + 1);
    }

    #[test]
    fn every_reason_stands_at_its_counter() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
