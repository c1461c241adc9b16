//! A store in a temporary directory, with recorders into its slots.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use perago_metrics::{ArenaStore, ArenaWriter, Recorder, RecorderOptions, Snapshot, StoreOptions, Value};

/// A store and its directory.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: ArenaStore,
    pub(crate) options: StoreOptions,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    pub(crate) fn with(options: StoreOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ArenaStore::open(directory.path(), options.clone()).unwrap();
        Self { directory, store, options }
    }

    /// What a restarted supervisor does.
    pub(crate) fn reopen(&mut self) {
        self.store = ArenaStore::open(self.directory.path(), self.options.clone()).unwrap();
    }

    pub(crate) fn recorder(&mut self, slot: &str) -> Recorder {
        self.recorder_with(slot, RecorderOptions::new("audio.transcribe", |warning| panic!("{warning:?}")))
    }

    pub(crate) fn recorder_with(&mut self, slot: &str, options: RecorderOptions) -> Recorder {
        let path = self.store.slot(slot).unwrap();
        self.store.begin_generation(slot).unwrap();
        Recorder::new(ArenaWriter::open(&path).unwrap(), options)
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.store.snapshot()
    }
}

/// The value of the series with exactly these labels.
pub(crate) fn find<'a>(snapshot: &'a Snapshot, name: &str, labels: &[(&str, &str)]) -> Option<&'a Value> {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let is_wanted = |key: &perago_metrics::SeriesKey| {
        key.name() == name
            && key.labels().iter().map(|(key, value)| (&**key, &**value)).eq(labels.iter().copied())
    };
    snapshot.points.iter().find(|point| is_wanted(&point.key)).map(|point| &point.value)
}

/// Count and sum of the histogram with exactly these labels.
pub(crate) fn histogram(snapshot: &Snapshot, name: &str, labels: &[(&str, &str)]) -> (u64, f64) {
    match find(snapshot, name, labels) {
        Some(Value::Histogram { counts, sum, .. }) => (counts.iter().sum(), *sum),
        other => panic!("{name} {labels:?} is {other:?} in {snapshot:?}"),
    }
}
