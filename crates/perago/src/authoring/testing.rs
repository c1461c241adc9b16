//! What authors test their bodies with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perago_metrics::{Checker, DEFAULT_LABEL_SETS, Kind, Label, MetricWarning, Reason, Rules};

use super::Metrics;

/// One sample as it would be exported.
///
/// ```
/// use perago::testing::InMemoryMetricRecorder;
///
/// let recorder = InMemoryMetricRecorder::new("audio.decode");
/// recorder.metrics().gauge("depth", 3, &[("zone", "a")]);
/// let [sample] = recorder.gauges().try_into().unwrap();
/// assert_eq!((sample.name.as_str(), sample.value), ("app.depth", 3.0));
/// assert_eq!(sample.labels["task_name"], "audio.decode");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedMetricSample {
    /// The name with its prefix.
    pub name: String,
    /// The value; for a timer, seconds.
    pub value: f64,
    /// All labels, `task_name` included.
    pub labels: BTreeMap<String, String>,
}

/// Keeps the samples of a body under test in memory, by the rules that a worker's recorder follows.
///
/// What the worker would drop is not kept; [`warnings`](Self::warnings) and [`dropped`](Self::dropped) say why. Clones
/// share their samples.
///
/// ```
/// use perago::Metrics;
/// use perago::testing::InMemoryMetricRecorder;
///
/// fn decode(chunks: &[&[u8]], metrics: &Metrics) {
///     let _timer = metrics.timer("decode_seconds", &[]);
///     for chunk in chunks {
///         metrics.histogram("chunk_bytes", chunk.len(), &[("format", "wav")]);
///     }
/// }
///
/// let recorder = InMemoryMetricRecorder::default();
/// decode(&[b"abc", b"de"], &recorder.metrics());
/// assert_eq!(recorder.values("chunk_bytes", &[("format", "wav")]), [3.0, 2.0]);
/// assert_eq!(recorder.values("decode_seconds", &[]).len(), 1);
/// assert!(recorder.warnings().is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct InMemoryMetricRecorder {
    memory: Arc<Memory>,
}

/// What a recorder in memory and the handles of its metrics share.
pub(super) struct Memory {
    checker: Checker,
    histograms: Mutex<Vec<RecordedMetricSample>>,
    gauges: Mutex<Vec<RecordedMetricSample>>,
    warnings: Arc<Mutex<Vec<MetricWarning>>>,
}

impl InMemoryMetricRecorder {
    /// An empty recorder; `task_name` is the value of the label of that name.
    pub fn new(task_name: &str) -> Self {
        Self::with_label_sets(task_name, DEFAULT_LABEL_SETS)
    }

    /// The same with another number of label sets that have a series of their own. Samples of further ones get the label
    /// `otel.metric.overflow`, as in a worker.
    ///
    /// ```
    /// use perago::testing::InMemoryMetricRecorder;
    ///
    /// let recorder = InMemoryMetricRecorder::with_label_sets("task", 1);
    /// for zone in ["a", "b"] {
    ///     recorder.metrics().histogram("zones", 1, &[("zone", zone)]);
    /// }
    /// assert_eq!(recorder.histograms()[1].labels["otel.metric.overflow"], "true");
    /// ```
    pub fn with_label_sets(task_name: &str, label_sets: usize) -> Self {
        let warnings = Arc::<Mutex<Vec<MetricWarning>>>::default();
        let sink = Arc::clone(&warnings);
        let checker =
            Checker::new(Rules::new(task_name, []), label_sets, move |warning| lock(&sink).push(warning));
        let memory = Memory { checker, histograms: Mutex::default(), gauges: Mutex::default(), warnings };
        Self { memory: Arc::new(memory) }
    }

    /// What the body under test is given.
    pub fn metrics(&self) -> Metrics {
        Metrics::in_memory(Arc::clone(&self.memory))
    }

    /// The samples of histograms and timers, in order.
    pub fn histograms(&self) -> Vec<RecordedMetricSample> {
        lock(&self.memory.histograms).clone()
    }

    /// The values that gauges were set to, in order.
    pub fn gauges(&self) -> Vec<RecordedMetricSample> {
        lock(&self.memory.gauges).clone()
    }

    /// The values of one metric, in order: their number is the count, their sum the sum.
    ///
    /// `name` is as the body wrote it, without `app.`; a sample must have these `labels` and may have more.
    pub fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let is_wanted = |sample: &&RecordedMetricSample| {
            sample.name.strip_prefix(perago_metrics::APPLICATION_PREFIX) == Some(name)
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        let samples = [self.histograms(), self.gauges()].concat();
        samples.iter().filter(is_wanted).map(|sample| sample.value).collect()
    }

    /// The fields of each warning that the worker's log would have, in order: `metric_name`, `label_key`,
    /// `perago_label_value`, `ignored_user_label_value` and `reason`.
    pub fn warnings(&self) -> Vec<BTreeMap<&'static str, String>> {
        lock(&self.memory.warnings).iter().cloned().map(fields).collect()
    }

    /// How many samples or labels were dropped or changed, by reason.
    ///
    /// ```
    /// let recorder = perago::testing::InMemoryMetricRecorder::default();
    /// recorder.metrics().histogram("items", -1, &[]);
    /// assert_eq!(recorder.dropped()["value_negative"], 1);
    /// assert_eq!(recorder.warnings()[0]["metric_name"], "app.items");
    /// ```
    pub fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let counts = Reason::ALL.iter().zip(self.memory.checker.dropped());
        counts.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.code(), count)).collect()
    }
}

impl Default for InMemoryMetricRecorder {
    /// A recorder of a task called `task`.
    fn default() -> Self {
        Self::new("task")
    }
}

impl Memory {
    /// Keeps a sample unless the rules drop it.
    pub(super) fn record(&self, kind: Kind, name: &str, value: f64, labels: &[(&str, &str)]) {
        let labels = labels.iter().copied().map(Label::from);
        let Some(key) = self.checker.check(kind, name, value, labels) else { return };
        let labels = key.labels().iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let samples = if kind == Kind::Gauge { &self.gauges } else { &self.histograms };
        lock(samples).push(RecordedMetricSample { name: key.name().to_owned(), value, labels });
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Memory").field("checker", &self.checker).finish_non_exhaustive()
    }
}

fn fields(warning: MetricWarning) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("metric_name", warning.metric_name),
        ("label_key", warning.label_key),
        ("perago_label_value", warning.perago_label_value),
        ("ignored_user_label_value", warning.ignored_user_label_value),
        ("reason", warning.reason.code().to_owned()),
    ])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_kept_as_it_would_be_exported() {
        let recorder = InMemoryMetricRecorder::new("audio.decode");
        let metrics = recorder.metrics();
        metrics.histogram("rows", 3_usize, &[("kind", "a")]);
        metrics.bind_histogram("rows", &[("kind", "b")]).record(4);
        metrics.gauge("depth", -2, &[]);
        metrics.bind_gauge("depth", &[]).set(1.5);
        drop(metrics.timer("load_seconds", &[]));
        drop(metrics.bind_timer("load_seconds", &[("kind", "a")]).start());
        assert_eq!(recorder.values("rows", &[]), [3.0, 4.0]);
        assert_eq!(recorder.values("rows", &[("kind", "b")]), [4.0]);
        assert_eq!(recorder.values("rows", &[("kind", "b"), ("task_name", "other")]), [] as [f64; 0]);
        assert_eq!(recorder.values("app.rows", &[]), [] as [f64; 0]);
        assert_eq!(recorder.values("depth", &[]), [-2.0, 1.5]);
        assert_eq!(recorder.values("load_seconds", &[]).len(), 2);
        let labels = BTreeMap::from([("kind", "a"), ("task_name", "audio.decode")]);
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let wanted = RecordedMetricSample { name: "app.rows".to_owned(), value: 3.0, labels };
        assert_eq!(recorder.histograms()[0], wanted);
        assert_eq!((recorder.histograms().len(), recorder.gauges().len()), (4, 2));
        assert_eq!((recorder.warnings().len(), recorder.dropped().len()), (0, 0));
    }

    #[test]
    fn what_a_worker_would_drop_is_not_kept() {
        let recorder = InMemoryMetricRecorder::with_label_sets("task", 2);
        let metrics = recorder.metrics();
        metrics.histogram("items", f64::NAN, &[]);
        metrics.histogram("items", -1, &[]);
        metrics.histogram("a b", 1, &[]);
        metrics.histogram("items", 1, &[("worker_id", "w")]);
        metrics.gauge("items", 1, &[]);
        let reasons: Vec<_> = recorder.warnings().iter().map(|fields| fields["reason"].clone()).collect();
        let wanted = ["value_not_finite", "value_negative", "invalid_name", "reserved_label", "kind_clash"];
        assert_eq!(reasons, wanted);
        assert_eq!(recorder.dropped(), wanted.map(|reason| (reason, 1)).into_iter().collect());
        assert_eq!(recorder.values("items", &[]), [1.0]);
        assert!(recorder.gauges().is_empty());
        for zone in ["a", "b", "c"] {
            metrics.histogram("zones", 1, &[("zone", zone)]);
        }
        assert_eq!(recorder.values("zones", &[("otel.metric.overflow", "true")]), [1.0]);
    }
}
