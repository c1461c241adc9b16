//! The recorder: names and labels to series once, then samples with no lock, loop, allocation or system call.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::catalogue::Catalogue;
use crate::clock;
use crate::fork::ForkLock;
use crate::ladder::{Ladder, LadderRules};
use crate::lookup;
use crate::rules::{Label, Rules};
use crate::series::{Kind, SeriesKey};
use crate::shard::Shards;
use crate::warning::{MetricWarning, Reason, WarningSink};
use crate::writer::ArenaWriter;

/// The most label sets of one task and worker, unless a setting says otherwise.
pub const DEFAULT_LABEL_SETS: usize = 1_000;

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

type Registry = Catalogue<Series>;

impl Recorder {
    /// A recorder into `writer`'s arena, which goes on with the series that are there.
    pub fn new(writer: ArenaWriter, options: RecorderOptions) -> Self {
        let RecorderOptions { rules, ladders, label_sets, warnings } = options;
        let layout = writer.layout();
        let (ladders, label_sets) =
            (ladders.with_form(layout.form), label_sets.min(layout.label_sets as usize));
        let registry = ForkLock::new(load(&writer, &ladders));
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
        if !self.add_at_once(series, value) {
            self.add_slowly(series, value);
        }
    }

    /// Sets a gauge that was found before.
    #[inline]
    pub fn set(&self, series: &Series, value: f64) {
        if !self.set_at_once(series, value) {
            self.set_slowly(series, value);
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

    /// Records into `series` if that takes a few stores and nothing else: the value can be exported, and this thread
    /// recorded its last sample here too. False: nothing was done, and [`Self::record`] has to do it.
    #[inline]
    pub fn record_at_once(&self, series: &Series, value: f64) -> bool {
        match series.kind {
            Kind::Histogram => self.add_at_once(series, value),
            Kind::Gauge => self.set_at_once(series, value),
            Kind::Counter => false,
        }
    }

    #[inline]
    fn add_at_once(&self, series: &Series, value: f64) -> bool {
        // As integers: the numbers from zero up to infinity, without -0.0.
        if value.to_bits() < f64::INFINITY.to_bits()
            && let Some(shard) = self.shards.current()
        {
            shard.add(series.cell as usize, series.ladder.bucket(value), value);
            return true;
        }
        false
    }

    #[inline]
    fn set_at_once(&self, series: &Series, value: f64) -> bool {
        if value.is_finite()
            && let Some(shard) = self.shards.current()
        {
            shard.set(series.cell as usize, value, clock::monotonic_nanos());
            return true;
        }
        false
    }

    /// For the first sample of a thread, the threads beyond the shards, and values that are dropped.
    #[cold]
    #[inline(never)]
    fn add_slowly(&self, series: &Series, value: f64) {
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

    #[cold]
    #[inline(never)]
    fn set_slowly(&self, series: &Series, value: f64) {
        if value.is_finite() {
            let time = clock::monotonic_nanos();
            if !self.shards.with(|shard| shard.set(series.cell as usize, value, time)) {
                self.drop_sample(series, Reason::ShardBusy);
            }
        } else {
            self.reject(series, value);
        }
    }

    /// Counts, and warns about, a call of `name` that never came to be a sample.
    pub fn reject_call(&self, name: &str, reason: Reason) {
        self.report(plain_warning(name, reason));
    }

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
        if warning.reason.is_counted() {
            shared.writer.count_drop(warning.reason);
        }
        let is_admitted = self.registry().admits(&mut warning, Instant::now());
        // Not under the lock: the sink may take its time, or record.
        if is_admitted {
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
        shared.registry.lock(|| load(&shared.writer, &shared.ladders))
    }

    /// Finds or adds a series; beyond the cap it is the overflow series, with a warning.
    fn register(&self, key: SeriesKey) -> Result<(Series, Option<MetricWarning>), Reason> {
        let shared = &self.shared;
        self.registry().find_or_add(key, shared.label_sets, |key| {
            let ladder = shared.ladders.ladder(key.name());
            let cell = shared.writer.register(key, ladder).ok_or(Reason::ArenaFull)?;
            Ok(Series { kind: key.kind(), cell, ladder: Arc::clone(ladder), name: key.name().into() })
        })
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recorder").field("task_name", &self.task_name()).finish_non_exhaustive()
    }
}

/// The series that are in an arena.
fn load(writer: &ArenaWriter, ladders: &LadderRules) -> Registry {
    let mut registry = Registry::default();
    for (key, registered) in writer.registered() {
        let ladder = ladders.ladder(key.name());
        registry.take_name(&key);
        // A series with other bounds is made anew; the reader carries the old counts over.
        if key.kind() != Kind::Histogram || registered.bounds == ladder.bounds() {
            let series = Series {
                kind: key.kind(),
                cell: registered.cell,
                ladder: Arc::clone(ladder),
                name: key.name().into(),
            };
            registry.restore(key, series);
        }
    }
    registry
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
