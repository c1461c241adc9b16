//! The recorder that a body is given.

use std::sync::Arc;

use perago_metrics::{GaugeHandle, HistogramHandle, Kind, Recorder, Series, monotonic_nanos};

use super::testing::Memory;

/// Records what a body measures. Cheap to clone; any thread may record, and no call ever fails or waits.
///
/// ```
/// fn decode(metrics: &perago::Metrics, chunks: &[Vec<u8>]) {
///     let _timer = metrics.timer("decode_seconds", &[("format", "wav")]);
///     let sizes = metrics.bind_histogram("chunk_bytes", &[]);
///     for chunk in chunks {
///         sizes.record(chunk.len());
///     }
///     metrics.gauge("chunks", chunks.len(), &[]);
/// }
/// decode(&perago::Metrics::disabled(), &[vec![0; 512]]);
/// ```
#[derive(Debug, Clone)]
pub struct Metrics {
    place: Place,
}

/// Where samples go.
#[derive(Debug, Clone)]
enum Place {
    Arena(Recorder),
    Memory(Arc<Memory>),
    Nowhere,
}

/// A series of a recorder in memory.
#[derive(Debug, Clone)]
struct Remembered {
    memory: Arc<Memory>,
    kind: Kind,
    name: String,
    labels: Vec<(String, String)>,
}

impl Remembered {
    fn new(memory: &Arc<Memory>, kind: Kind, name: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { memory: Arc::clone(memory), kind, name: name.to_owned(), labels }
    }

    #[cold]
    fn record(&self, value: f64) {
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.memory.record(self.kind, &self.name, value, &labels);
    }
}

/// A series of a worker's recorder or of one in memory.
#[derive(Debug, Clone)]
enum Handle<H> {
    Arena(H),
    Memory(Arc<Remembered>),
    Nowhere,
}

/// A number of any kind.
///
/// ```
/// use perago::Number;
///
/// assert_eq!((3_u8.as_f64(), (-2_i64).as_f64(), 0.5_f32.as_f64()), (3.0, -2.0, 0.5));
/// ```
pub trait Number: Copy {
    /// The number as metrics hold it.
    fn as_f64(self) -> f64;
}

macro_rules! numbers {
    ($($kind:ty)*) => {
        $(impl Number for $kind {
            #[inline]
            #[allow(clippy::cast_lossless, reason = "one body for all kinds")]
            fn as_f64(self) -> f64 {
                self as f64
            }
        })*
    };
}

numbers!(f64 f32 u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

impl Metrics {
    /// A recorder that records nothing. A test that looks at samples takes
    /// [`InMemoryMetricRecorder`](crate::testing::InMemoryMetricRecorder).
    pub fn disabled() -> Self {
        Self { place: Place::Nowhere }
    }

    pub(super) fn new(recorder: Option<Recorder>) -> Self {
        Self { place: recorder.map_or(Place::Nowhere, Place::Arena) }
    }

    pub(super) fn in_memory(memory: Arc<Memory>) -> Self {
        Self { place: Place::Memory(memory) }
    }

    /// Records `value` into the histogram `app.<name>`.
    #[inline]
    pub fn histogram(&self, name: &str, value: impl Number, labels: &[(&str, &str)]) {
        match &self.place {
            Place::Arena(recorder) => recorder.histogram(name, value.as_f64(), labels),
            Place::Memory(memory) => memory.record(Kind::Histogram, name, value.as_f64(), labels),
            Place::Nowhere => {}
        }
    }

    /// Sets the gauge `app.<name>` to `value`.
    #[inline]
    pub fn gauge(&self, name: &str, value: impl Number, labels: &[(&str, &str)]) {
        match &self.place {
            Place::Arena(recorder) => recorder.gauge(name, value.as_f64(), labels),
            Place::Memory(memory) => memory.record(Kind::Gauge, name, value.as_f64(), labels),
            Place::Nowhere => {}
        }
    }

    /// Records the seconds from now until the timer goes out of scope into the histogram `app.<name>`.
    #[must_use = "the time ends when the timer is dropped"]
    pub fn timer(&self, name: &str, labels: &[(&str, &str)]) -> Timer<'static> {
        let target = match &self.place {
            Place::Arena(recorder) => {
                let found = recorder.find(Kind::Histogram, name, labels).series;
                found.map_or(Target::Nothing, |series| Target::Series(recorder.clone(), series))
            }
            Place::Memory(memory) => {
                Target::Memory(Arc::new(Remembered::new(memory, Kind::Histogram, name, labels)))
            }
            Place::Nowhere => Target::Nothing,
        };
        Timer { target, began: monotonic_nanos() }
    }

    /// The histogram `app.<name>` with these labels, for loops: a sample then costs a few nanoseconds.
    pub fn bind_histogram(&self, name: &str, labels: &[(&str, &str)]) -> Histogram {
        let handle = match &self.place {
            Place::Arena(recorder) => Handle::Arena(recorder.bind_histogram(name, labels)),
            Place::Memory(memory) => {
                Handle::Memory(Arc::new(Remembered::new(memory, Kind::Histogram, name, labels)))
            }
            Place::Nowhere => Handle::Nowhere,
        };
        Histogram { handle }
    }

    /// The gauge `app.<name>` with these labels, for loops.
    pub fn bind_gauge(&self, name: &str, labels: &[(&str, &str)]) -> Gauge {
        let handle = match &self.place {
            Place::Arena(recorder) => Handle::Arena(recorder.bind_gauge(name, labels)),
            Place::Memory(memory) => {
                Handle::Memory(Arc::new(Remembered::new(memory, Kind::Gauge, name, labels)))
            }
            Place::Nowhere => Handle::Nowhere,
        };
        Gauge { handle }
    }

    /// A stopwatch into the histogram `app.<name>` with these labels, for loops.
    pub fn bind_timer(&self, name: &str, labels: &[(&str, &str)]) -> TimerHandle {
        TimerHandle { histogram: self.bind_histogram(name, labels) }
    }
}

/// A histogram that was looked up before.
///
/// ```
/// let sizes = perago::Metrics::disabled().bind_histogram("chunk_bytes", &[("format", "wav")]);
/// sizes.record(512);
/// ```
#[derive(Debug, Clone)]
pub struct Histogram {
    handle: Handle<HistogramHandle>,
}

impl Histogram {
    /// Records one value.
    #[inline]
    pub fn record(&self, value: impl Number) {
        match &self.handle {
            Handle::Arena(handle) => handle.record(value.as_f64()),
            Handle::Memory(series) => series.record(value.as_f64()),
            Handle::Nowhere => {}
        }
    }
}

/// A gauge that was looked up before.
///
/// ```
/// let depth = perago::Metrics::disabled().bind_gauge("queue_depth", &[]);
/// depth.set(3);
/// ```
#[derive(Debug, Clone)]
pub struct Gauge {
    handle: Handle<GaugeHandle>,
}

impl Gauge {
    /// Sets the value.
    #[inline]
    pub fn set(&self, value: impl Number) {
        match &self.handle {
            Handle::Arena(handle) => handle.set(value.as_f64()),
            Handle::Memory(series) => series.record(value.as_f64()),
            Handle::Nowhere => {}
        }
    }
}

/// A stopwatch whose histogram was looked up before.
///
/// ```
/// let stopwatch = perago::Metrics::disabled().bind_timer("step_seconds", &[]);
/// for _ in 0..3 {
///     let _timer = stopwatch.start();
/// }
/// ```
#[derive(Debug, Clone)]
pub struct TimerHandle {
    histogram: Histogram,
}

impl TimerHandle {
    /// Measures from now until the timer goes out of scope.
    #[must_use = "the time ends when the timer is dropped"]
    #[inline]
    pub fn start(&self) -> Timer<'_> {
        Timer { target: Target::Bound(&self.histogram), began: monotonic_nanos() }
    }
}

/// Measures until it goes out of scope. Made by [`Metrics::timer`] and [`TimerHandle::start`].
///
/// ```
/// let metrics = perago::Metrics::disabled();
/// let timer = metrics.timer("load_seconds", &[]);
/// drop(timer);
/// ```
#[derive(Debug)]
pub struct Timer<'a> {
    target: Target<'a>,
    began: u64,
}

#[derive(Debug)]
enum Target<'a> {
    Series(Recorder, Series),
    Memory(Arc<Remembered>),
    Bound(&'a Histogram),
    Nothing,
}

impl Drop for Timer<'_> {
    #[inline]
    fn drop(&mut self) {
        let seconds = monotonic_nanos().saturating_sub(self.began) as f64 * 1e-9;
        match &self.target {
            Target::Series(recorder, series) => recorder.add(series, seconds),
            Target::Memory(series) => series.record(seconds),
            Target::Bound(histogram) => histogram.record(seconds),
            Target::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use perago_metrics::{ArenaStore, ArenaWriter, RecorderOptions, StoreOptions, Value};

    use super::*;

    #[test]
    fn every_call_reaches_the_arena() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = ArenaStore::open(folder.path(), StoreOptions::default()).unwrap();
        let path = store.slot("slot-0001").unwrap();
        store.begin_generation("slot-0001").unwrap();
        let writer = ArenaWriter::open(&path).unwrap();
        let recorder = Recorder::new(writer, RecorderOptions::new("suite", |_| {}));
        let metrics = Metrics::new(Some(recorder));
        metrics.histogram("rows", 3_usize, &[("kind", "a")]);
        metrics.bind_histogram("rows", &[("kind", "a")]).record(4);
        metrics.gauge("depth", -2, &[]);
        metrics.bind_gauge("depth", &[]).set(1.5);
        drop(metrics.timer("load_seconds", &[]));
        drop(metrics.bind_timer("load_seconds", &[]).start());
        let snapshot = store.snapshot();
        let value = |name: &str| {
            let found = snapshot.points.iter().find(|point| point.key.name() == name);
            found.map(|point| point.value.clone()).unwrap()
        };
        let count_and_sum = |name| match value(name) {
            Value::Histogram { counts, sum, .. } => (counts.iter().sum::<u64>(), sum),
            other => panic!("{name} is {other:?}"),
        };
        assert_eq!(count_and_sum("app.rows"), (2, 7.0));
        assert_eq!(value("app.depth"), Value::Gauge(1.5));
        let (count, seconds) = count_and_sum("app.load_seconds");
        assert_eq!(count, 2);
        assert!((0.0..60.0).contains(&seconds));
    }
}
