//! The recorder: names and labels to series once, then samples with no lock, loop, allocation or system call.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::clock;
use crate::fork::ForkLock;
use crate::ladder::{Ladder, LadderRules};
use crate::lookup;
use crate::rules::{Label, Rules};
use crate::series::{Kind, SeriesKey};
use crate::shard::Shards;
use crate::warning::{MetricWarning, Reason, Throttle, WarningSink};
use crate::writer::ArenaWriter;

/// The most label sets of one task and worker, unless a setting says otherwise.
pub const DEFAULT_LABEL_SETS: usize = 1_000;

/// Endings that the store appends to a histogram's name.
pub(crate) const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// How a [`Recorder`] is set up.
pub struct RecorderOptions {
    /// The rules for names, values and labels, with the task's name.
    pub rules: Rules,
    /// The bucket bounds by name.
    pub ladders: LadderRules,
    /// Label sets beyond this number go to their metric's overflow series.
    pub label_sets: usize,
    /// Takes the warnings.
    pub warnings: Box<dyn WarningSink>,
}

impl RecorderOptions {
    /// The defaults for `task_name`, with warnings going to `warnings`.
    pub fn new(task_name: &str, warnings: impl WarningSink + 'static) -> Self {
        Self {
            rules: Rules::new(task_name, []),
            ladders: LadderRules::default(),
            label_sets: DEFAULT_LABEL_SETS,
            warnings: Box::new(warnings),
        }
    }
}

/// Records the samples of one task into an arena. Cheap to clone; usable from any thread and in forked children.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    /// The writer's, a step nearer for every sample.
    shards: Arc<Shards>,
}

struct Shared {
    writer: ArenaWriter,
    rules: Rules,
    ladders: LadderRules,
    label_sets: usize,
    warnings: Box<dyn WarningSink>,
    registry: ForkLock<Registry>,
}

/// A series of one arena, found once and then used for every sample.
#[derive(Debug, Clone)]
pub struct Series {
    kind: Kind,
    cell: u32,
    ladder: Arc<Ladder>,
    name: Arc<str>,
}

/// What a call of a task body means.
#[derive(Debug)]
pub struct Resolved {
    /// The series, or none if the sample is dropped; the drop has been counted and warned about.
    pub series: Option<Series>,
    /// Whether the same call may be answered from a cache: nothing was dropped, changed or warned about.
    pub is_clean: bool,
}

#[derive(Default)]
struct Registry {
    series: HashMap<SeriesKey, Series>,
    kinds: HashMap<Box<str>, Kind>,
    label_sets: usize,
    throttle: Throttle,
}

impl Recorder {
    /// A recorder into `writer`'s arena, which goes on with the series that are there.
    pub fn new(writer: ArenaWriter, options: RecorderOptions) -> Self {
        let RecorderOptions { rules, ladders, label_sets, warnings } = options;
        let layout = writer.layout();
        let (ladders, label_sets) =
            (ladders.with_form(layout.form), label_sets.min(layout.label_sets as usize));
        let registry = ForkLock::new(Registry::load(&writer, &ladders));
        let shards = Arc::clone(writer.shards());
        Self { shards, shared: Arc::new(Shared { writer, rules, ladders, label_sets, warnings, registry }) }
    }

    /// The task whose samples these are.
    pub fn task_name(&self) -> &str {
        self.shared.rules.task_name()
    }

    /// A number that no other recorder of this process has had, for caches of [`Series`].
    #[inline]
    pub fn number(&self) -> u64 {
        self.shards.number()
    }

    /// Records `value` into the histogram `app.<name>`.
    pub fn histogram(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        lookup::with_series(self, Kind::Histogram, name, labels, |series| self.add(series, value));
    }

    /// Sets the gauge `app.<name>` to `value`.
    pub fn gauge(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        lookup::with_series(self, Kind::Gauge, name, labels, |series| self.set(series, value));
    }

    /// The histogram `app.<name>` with `labels`, to be recorded into without looking it up again.
    pub fn bind_histogram(&self, name: &str, labels: &[(&str, &str)]) -> HistogramHandle {
        self.handle(self.bind(Kind::Histogram, name, labels).series)
    }

    /// The gauge `app.<name>` with `labels`.
    pub fn bind_gauge(&self, name: &str, labels: &[(&str, &str)]) -> GaugeHandle {
        GaugeHandle { recorder: self.clone(), series: self.bind(Kind::Gauge, name, labels).series }
    }

    /// The built-in histogram `runtime.<name>` with `labels` besides `task_name`.
    pub fn runtime_histogram(&self, name: &str, labels: &[(&str, &str)]) -> HistogramHandle {
        self.handle(self.runtime(Kind::Histogram, name, labels))
    }

    /// The built-in gauge `runtime.<name>` with `labels` besides `task_name`.
    pub fn runtime_gauge(&self, name: &str, labels: &[(&str, &str)]) -> GaugeHandle {
        GaugeHandle { recorder: self.clone(), series: self.runtime(Kind::Gauge, name, labels) }
    }

    /// The worker's gauge `perago.<name>` with `labels` besides `task_name`.
    pub fn worker_gauge(&self, name: &str, labels: &[(&str, &str)]) -> GaugeHandle {
        GaugeHandle { recorder: self.clone(), series: self.worker(Kind::Gauge, name, labels) }
    }

    /// The worker's total `perago.<name>` with `labels` besides `task_name`.
    pub fn worker_counter(&self, name: &str, labels: &[(&str, &str)]) -> CounterHandle {
        CounterHandle { recorder: self.clone(), series: self.worker(Kind::Counter, name, labels) }
    }

    /// The series of a body's call with labels that are plain strings.
    pub fn bind(&self, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Resolved {
        self.resolve(kind, name, labels.iter().map(|label| Label::from(*label)))
    }

    /// As [`Self::bind`], remembered by each thread: a second look-up takes no lock.
    pub fn find(&self, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Resolved {
        lookup::find(self, kind, name, labels)
    }

    /// The series of a body's call. Everything dropped or changed is counted, and warned about as often as allowed.
    pub fn resolve<'a>(
        &self,
        kind: Kind,
        name: &str,
        labels: impl IntoIterator<Item = Label<'a>>,
    ) -> Resolved {
        let mut warnings = Vec::new();
        let key = self.shared.rules.application_key(kind, name, labels, &mut warnings);
        let (series, registration) = match key.and_then(|key| self.register(key)) {
            Ok((series, overflow)) => (Some(series), overflow),
            Err(reason) => (None, Some(plain_warning(name, reason))),
        };
        warnings.extend(registration);
        let is_clean = warnings.iter().all(|warning| warning.reason == Reason::NameCase);
        for warning in warnings {
            self.report(warning);
        }
        Resolved { series, is_clean }
    }

    /// Records into a histogram that was found before.
    #[inline]
    pub fn add(&self, series: &Series, value: f64) {
        // Not contained: NaN too.
        if (0.0..f64::INFINITY).contains(&value) {
            let bucket = series.ladder.bucket(value);
            if !self.shards.with(|shard| shard.add(series.cell as usize, bucket, value)) {
                self.drop_sample(series, Reason::ShardBusy);
            }
        } else {
            self.reject(series, value);
        }
    }

    /// Sets a gauge that was found before.
    #[inline]
    pub fn set(&self, series: &Series, value: f64) {
        if value.is_finite() {
            let time = clock::monotonic_nanos();
            if !self.shards.with(|shard| shard.set(series.cell as usize, value, time)) {
                self.drop_sample(series, Reason::ShardBusy);
            }
        } else {
            self.reject(series, value);
        }
    }

    /// Records into `series` by its kind.
    #[inline]
    pub fn record(&self, series: &Series, value: f64) {
        match series.kind {
            Kind::Histogram => self.add(series, value),
            Kind::Gauge => self.set(series, value),
            Kind::Counter => self.grow(series, value),
        }
    }

    /// Adds to a counter that was found before.
    fn grow(&self, series: &Series, value: f64) {
        if (0.0..f64::INFINITY).contains(&value) {
            // A counter is a histogram of one bucket, of which the sum is exported.
            if !self.shards.with(|shard| shard.add(series.cell as usize, 0, value)) {
                self.drop_sample(series, Reason::ShardBusy);
            }
        } else {
            self.reject(series, value);
        }
    }

    #[cold]
    fn reject(&self, series: &Series, value: f64) {
        if let Some(reason) = Rules::value_fault(series.kind, value) {
            self.drop_sample(series, reason);
        }
    }

    #[cold]
    fn drop_sample(&self, series: &Series, reason: Reason) {
        self.report(MetricWarning { metric_name: series.name.to_string(), ..plain_warning("", reason) });
    }

    fn report(&self, mut warning: MetricWarning) {
        let shared = &self.shared;
        shared.writer.count_drop(warning.reason);
        let mut registry = self.registry();
        let now = Instant::now();
        if registry.throttle.admits(&warning.metric_name, warning.reason, &warning.label_key, now) {
            if warning.reason == Reason::LabelSets {
                let of_metric = registry.series.keys().filter(|key| key.name() == warning.metric_name);
                warning.label_key = growing_label(of_metric);
            }
            // The sink may take its time, or record.
            drop(registry);
            shared.warnings.warn(warning);
        }
    }

    fn handle(&self, series: Option<Series>) -> HistogramHandle {
        HistogramHandle { recorder: self.clone(), series }
    }

    fn runtime(&self, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Option<Series> {
        self.own(self.shared.rules.runtime_key(kind, name, labels), name)
    }

    fn worker(&self, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Option<Series> {
        self.own(self.shared.rules.worker_key(kind, name, labels), name)
    }

    fn own(&self, key: Result<SeriesKey, Reason>, name: &str) -> Option<Series> {
        match key.and_then(|key| self.register(key)) {
            Ok((series, _)) => Some(series),
            Err(reason) => {
                self.report(MetricWarning { metric_name: name.to_owned(), ..plain_warning("", reason) });
                None
            }
        }
    }

    fn registry(&self) -> crate::fork::ForkGuard<'_, Registry> {
        let shared = &self.shared;
        shared.registry.lock(|| Registry::load(&shared.writer, &shared.ladders))
    }

    /// Finds or adds a series; beyond the cap it is the overflow series, with a warning.
    fn register(&self, key: SeriesKey) -> Result<(Series, Option<MetricWarning>), Reason> {
        let mut registry = self.registry();
        if let Some(series) = registry.series.get(&key) {
            return Ok((series.clone(), None));
        }
        registry.check_name(&key)?;
        let counts = key.has_user_labels();
        if counts && registry.label_sets >= self.shared.label_sets {
            let overflow = Rules::overflow_key(&key);
            let warning =
                MetricWarning { metric_name: key.name().to_owned(), ..plain_warning("", Reason::LabelSets) };
            if let Some(series) = registry.series.get(&overflow) {
                return Ok((series.clone(), Some(warning)));
            }
            return registry.add(&self.shared, overflow).map(|series| (series, Some(warning)));
        }
        let series = registry.add(&self.shared, key)?;
        registry.label_sets += usize::from(counts);
        Ok((series, None))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recorder").field("task_name", &self.task_name()).finish_non_exhaustive()
    }
}

impl Registry {
    fn load(writer: &ArenaWriter, ladders: &LadderRules) -> Self {
        let mut registry = Self::default();
        for (key, registered) in writer.registered() {
            let ladder = ladders.ladder(key.name());
            registry.kinds.entry(key.name().into()).or_insert(key.kind());
            // A series with other bounds is made anew; the reader carries the old counts over.
            if key.kind() != Kind::Histogram || registered.bounds == ladder.bounds() {
                registry.label_sets += usize::from(key.has_user_labels());
                let series = Series {
                    kind: key.kind(),
                    cell: registered.cell,
                    ladder: Arc::clone(ladder),
                    name: key.name().into(),
                };
                registry.series.insert(key, series);
            }
        }
        registry
    }

    fn check_name(&self, key: &SeriesKey) -> Result<(), Reason> {
        check_name(&self.kinds, key.kind(), key.name())
    }

    fn add(&mut self, shared: &Shared, key: SeriesKey) -> Result<Series, Reason> {
        let ladder = shared.ladders.ladder(key.name());
        let cell = shared.writer.register(&key, ladder).ok_or(Reason::ArenaFull)?;
        let series = Series { kind: key.kind(), cell, ladder: Arc::clone(ladder), name: key.name().into() };
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

/// A warning about a whole sample.
pub(crate) fn plain_warning(name: &str, reason: Reason) -> MetricWarning {
    MetricWarning {
        metric_name: Rules::application_name(name).unwrap_or_else(|_| name.chars().take(256).collect()),
        label_key: String::new(),
        perago_label_value: String::new(),
        ignored_user_label_value: String::new(),
        reason,
    }
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

/// A histogram's series, bound once.
#[derive(Debug, Clone)]
pub struct HistogramHandle {
    recorder: Recorder,
    series: Option<Series>,
}

impl HistogramHandle {
    /// Records one value.
    #[inline]
    pub fn record(&self, value: f64) {
        if let Some(series) = &self.series {
            self.recorder.add(series, value);
        }
    }
}

/// A gauge's series, bound once.
#[derive(Debug, Clone)]
pub struct GaugeHandle {
    recorder: Recorder,
    series: Option<Series>,
}

impl GaugeHandle {
    /// Sets the value.
    #[inline]
    pub fn set(&self, value: f64) {
        if let Some(series) = &self.series {
            self.recorder.set(series, value);
        }
    }
}

/// A total's series, bound once.
#[derive(Debug, Clone)]
pub struct CounterHandle {
    recorder: Recorder,
    series: Option<Series>,
}

impl CounterHandle {
    /// Adds `value`, which must not be negative. Adding 0 makes the series appear.
    pub fn add(&self, value: f64) {
        if let Some(series) = &self.series {
            self.recorder.grow(series, value);
        }
    }
}
