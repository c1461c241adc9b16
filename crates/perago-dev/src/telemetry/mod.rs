//! Metrics pushed by OTLP, kept as series in the form in which VictoriaMetrics shows them.

mod decode;
mod selector;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

pub(crate) use decode::{Decoded, decode, format_number};
pub(crate) use selector::{Selector, SelectorError};

/// Series beyond this many are refused, and the pusher is told so.
const MAXIMUM_SERIES: usize = 200_000;
/// Samples kept of one series; the oldest are forgotten first.
const MAXIMUM_SAMPLES: usize = 720;
/// How far back an instant query looks for a sample.
const LOOKBACK_MILLISECONDS: i64 = 300_000;

/// Labels, the name among them as `__name__`.
pub(crate) type Labels = BTreeMap<String, String>;

/// One sample of one series; no value ends the series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The series.
    pub(crate) labels: Labels,
    /// Epoch milliseconds.
    pub(crate) time: i64,
    /// Its value.
    pub(crate) value: Option<f64>,
}

/// The samples of one series.
#[derive(Debug, Default)]
pub(crate) struct Series {
    samples: VecDeque<(i64, Option<f64>)>,
}

impl Series {
    /// Returns the value at a time: that of the latest sample before it, unless that ended the series.
    fn at(&self, time: i64) -> Option<f64> {
        let latest = self.samples.iter().rev().find(|(sampled, _)| *sampled <= time)?;
        (latest.0 > time - LOOKBACK_MILLISECONDS).then_some(latest.1).flatten()
    }

    /// Returns all samples with a value.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (i64, f64)> {
        self.samples.iter().filter_map(|(time, value)| value.map(|value| (*time, value)))
    }
}

/// A series with its last value, as [`crate::DevHandle::metric_series`] lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSeries {
    /// Labels, the name among them as `__name__`.
    pub labels: BTreeMap<String, String>,
    /// The latest value that was pushed.
    pub last_value: f64,
}

/// All series, by name and then by labels.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    names: HashMap<String, BTreeMap<Labels, Series>>,
    count: usize,
}

impl Telemetry {
    /// Adds samples; returns how many were refused because there are too many series.
    pub(crate) fn add(&mut self, samples: Vec<Sample>) -> usize {
        let mut refused = 0;
        for sample in samples {
            let name = sample.labels.get("__name__").cloned().unwrap_or_default();
            let known = self.names.get(&name).is_some_and(|named| named.contains_key(&sample.labels));
            if !known && (sample.value.is_none() || self.count >= MAXIMUM_SERIES) {
                refused += usize::from(sample.value.is_some());
                continue;
            }
            self.count += usize::from(!known);
            let series = self.names.entry(name).or_default().entry(sample.labels).or_default();
            if series.samples.len() >= MAXIMUM_SAMPLES {
                series.samples.pop_front();
            }
            let after = series.samples.iter().rposition(|(time, _)| *time <= sample.time);
            series.samples.insert(after.map_or(0, |position| position + 1), (sample.time, sample.value));
        }
        refused
    }

    /// Returns the series that match any of the selectors.
    pub(crate) fn matching<'a>(&'a self, selectors: &[Selector]) -> Vec<(&'a Labels, &'a Series)> {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for selector in selectors {
            match selector.name() {
                Some(name) => names.extend(self.names.get_key_value(name).map(|(name, _)| name.as_str())),
                None => names.extend(self.names.keys().map(String::as_str)),
            }
        }
        names
            .into_iter()
            .flat_map(|name| &self.names[name])
            .filter(|(labels, _)| selectors.iter().any(|selector| selector.matches(labels)))
            .collect()
    }

    /// Returns every series with its last value.
    pub(crate) fn last_values(&self) -> Vec<MetricSeries> {
        let all = self.names.values().flatten();
        all.filter_map(|(labels, series)| {
            let (_, last_value) = series.samples().last()?;
            Some(MetricSeries { labels: labels.clone(), last_value })
        })
        .collect()
    }

    /// Returns the matching series that have a value at a time.
    pub(crate) fn query(&self, selector: Selector, time: i64) -> Vec<(&Labels, f64)> {
        let matching = self.matching(&[selector]).into_iter();
        matching.filter_map(|(labels, series)| series.at(time).map(|value| (labels, value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, time: i64, value: Option<f64>) -> Sample {
        Sample { labels: [("__name__".to_owned(), name.to_owned())].into(), time, value }
    }

    fn value_at(telemetry: &Telemetry, time: i64) -> Option<f64> {
        telemetry.query(Selector::parse("a").unwrap(), time).first().map(|(_, value)| *value)
    }

    #[test]
    fn a_gauge_without_recorded_value_ends() {
        let mut telemetry = Telemetry::default();
        assert_eq!(telemetry.add(vec![sample("a", 1_000, Some(2.0)), sample("a", 3_000, Some(4.0))]), 0);
        assert_eq!(value_at(&telemetry, 999), None);
        assert_eq!(value_at(&telemetry, 2_000), Some(2.0));
        assert_eq!(value_at(&telemetry, 3_000), Some(4.0));
        assert_eq!(value_at(&telemetry, 3_000 + LOOKBACK_MILLISECONDS), None);
        telemetry.add(vec![sample("a", 4_000, None)]);
        assert_eq!(value_at(&telemetry, 4_000), None);
        assert_eq!(value_at(&telemetry, 3_500), Some(4.0));
    }

    #[test]
    fn series_and_samples_are_bounded() {
        let mut telemetry = Telemetry::default();
        for time in 0..2_000 {
            telemetry.add(vec![sample("a", time, Some(1.0))]);
        }
        let (_, series) = telemetry.matching(&[Selector::parse("a").unwrap()])[0];
        assert_eq!(series.samples().count(), MAXIMUM_SAMPLES);
        telemetry.count = MAXIMUM_SERIES;
        assert_eq!(telemetry.add(vec![sample("b", 0, Some(1.0)), sample("a", 9_999, Some(1.0))]), 1);
    }
}
