//! Which series a recorder has and whether another may join them: for recorders into arenas and in memory alike.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::recorder::plain_warning;
use crate::rules::Rules;
use crate::series::{Kind, SeriesKey};
use crate::warning::{MetricWarning, Reason, Throttle};

/// Endings that the store appends to a histogram's name.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The series of one recorder: a name belongs to one kind, and label sets beyond the cap share an overflow series.
#[derive(Debug)]
pub(crate) struct Catalogue<S> {
    series: HashMap<SeriesKey, S>,
    kinds: HashMap<Box<str>, Kind>,
    label_sets: usize,
    throttle: Throttle,
}

impl<S> Default for Catalogue<S> {
    fn default() -> Self {
        Self { series: HashMap::new(), kinds: HashMap::new(), label_sets: 0, throttle: Throttle::default() }
    }
}

impl<S: Clone> Catalogue<S> {
    /// Takes the name of a series that was there before; the first kind keeps it.
    pub(crate) fn take_name(&mut self, key: &SeriesKey) {
        self.kinds.entry(key.name().into()).or_insert(key.kind());
    }

    /// Adds a series that was there before, whatever the cap.
    pub(crate) fn restore(&mut self, key: SeriesKey, series: S) {
        self.label_sets += usize::from(key.has_user_labels());
        self.series.insert(key, series);
    }

    /// The series of `key`, which `make` makes if it is new; beyond `limit` label sets the overflow series of its
    /// metric, with a warning.
    pub(crate) fn find_or_add(
        &mut self,
        key: SeriesKey,
        limit: usize,
        make: impl FnOnce(&SeriesKey) -> Result<S, Reason>,
    ) -> Result<(S, Option<MetricWarning>), Reason> {
        if let Some(series) = self.series.get(&key) {
            return Ok((series.clone(), None));
        }
        check_name(&self.kinds, key.kind(), key.name())?;
        let counts = key.has_user_labels();
        if !counts || self.label_sets < limit {
            let series = self.add(key, make)?;
            self.label_sets += usize::from(counts);
            return Ok((series, None));
        }
        let warning =
            MetricWarning { metric_name: key.name().to_owned(), ..plain_warning("", Reason::LabelSets) };
        let overflow = Rules::overflow_key(&key);
        let series = match self.series.get(&overflow) {
            Some(series) => series.clone(),
            None => self.add(overflow, make)?,
        };
        Ok((series, Some(warning)))
    }

    /// Whether `warning` may be given `now`; if so, one about label sets is made to name the label at fault.
    pub(crate) fn admits(&mut self, warning: &mut MetricWarning, now: Instant) -> bool {
        let admitted = self.throttle.admits(&warning.metric_name, warning.reason, &warning.label_key, now);
        if admitted && warning.reason == Reason::LabelSets {
            let of_metric = self.series.keys().filter(|key| key.name() == warning.metric_name);
            warning.label_key = growing_label(of_metric);
        }
        admitted
    }

    fn add(
        &mut self,
        key: SeriesKey,
        make: impl FnOnce(&SeriesKey) -> Result<S, Reason>,
    ) -> Result<S, Reason> {
        let series = make(&key)?;
        self.kinds.insert(key.name().into(), key.kind());
        self.series.insert(key, series.clone());
        Ok(series)
    }
}

/// The label that has the most values among these keys of one metric.
pub(crate) fn growing_label<'a>(keys: impl Iterator<Item = &'a SeriesKey>) -> String {
    let mut values: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (label, value) in keys.flat_map(SeriesKey::labels) {
        values.entry(label).or_default().insert(value);
    }
    let most = values.into_iter().max_by_key(|(label, values)| (values.len(), *label));
    most.map_or_else(String::new, |(label, _)| label.to_owned())
}

/// Whether a metric may have this name and kind beside the ones that there are.
pub(crate) fn check_name(kinds: &HashMap<Box<str>, Kind>, kind: Kind, name: &str) -> Result<(), Reason> {
    match kinds.get(name) {
        Some(used) if *used == kind => return Ok(()),
        Some(_) => return Err(Reason::KindClash),
        None => {}
    }
    let is_part_of_histogram = HISTOGRAM_SUFFIXES
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .any(|base| kinds.get(base) == Some(&Kind::Histogram));
    let covers_another = kind == Kind::Histogram
        && HISTOGRAM_SUFFIXES.iter().any(|suffix| kinds.contains_key(&*format!("{name}{suffix}")));
    if is_part_of_histogram || covers_another { Err(Reason::SeriesClash) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, user: &str) -> SeriesKey {
        let labels = vec![("task_name".into(), "t".into()), ("user".into(), user.into())];
        SeriesKey::new(Kind::Gauge, name, labels)
    }

    #[test]
    fn label_sets_beyond_the_cap_share_the_overflow_series_of_their_metric() {
        let mut catalogue = Catalogue::default();
        let made = |catalogue: &mut Catalogue<SeriesKey>, name: &str, user: &str| {
            catalogue.find_or_add(key(name, user), 2, |key| Ok(key.clone())).unwrap()
        };
        assert_eq!(made(&mut catalogue, "app.a", "1").1, None);
        assert_eq!(made(&mut catalogue, "app.b", "1").1, None);
        let (series, warning) = made(&mut catalogue, "app.a", "2");
        assert_eq!(series, Rules::overflow_key(&key("app.a", "2")));
        let mut warning = warning.unwrap();
        assert!(catalogue.admits(&mut warning, Instant::now()));
        assert_eq!((&*warning.metric_name, &*warning.label_key), ("app.a", "user"));
        assert_eq!(made(&mut catalogue, "app.a", "3").0, series);
        assert_eq!(made(&mut catalogue, "app.a", "1").1, None);
    }

    #[test]
    fn a_series_that_cannot_be_made_takes_no_name() {
        let mut catalogue: Catalogue<()> = Catalogue::default();
        assert_eq!(
            catalogue.find_or_add(key("app.a", ""), 2, |_| Err(Reason::ArenaFull)),
            Err(Reason::ArenaFull)
        );
        let histogram = SeriesKey::new(Kind::Histogram, "app.a", Vec::new());
        assert!(catalogue.find_or_add(histogram, 2, |_| Ok(())).is_ok());
    }
}
