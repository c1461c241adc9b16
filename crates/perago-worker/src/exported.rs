//! Which series a worker exports: those of its own task, as far as its declaration and the settings ask for them.
//!
//! The arenas may hold more: totals of another task that ran on the same state directory, or of what has been switched
//! off since. They stay there, and go on when they are wanted again.

use std::sync::{Arc, Mutex, PoisonError};

use perago_contract::{MetricSpec, TaskDescription};
use perago_metrics::{
    ArenaStore, Kind, Point, RUNTIME_PREFIX, Reason, Rules, SeriesKey, Snapshot, Value, WORKER_PREFIX,
};
use perago_otlp::SnapshotSource;

use crate::instruments::Instruments;
use crate::state_disk::StateDisk;

/// The choice.
#[derive(Debug)]
struct Wanted {
    task_name: String,
    spec: Option<MetricSpec>,
    worker: bool,
}

/// The snapshots that are exported.
#[derive(Debug)]
pub struct ExportedSeries {
    store: Arc<Mutex<ArenaStore>>,
    wanted: Wanted,
    instruments: Instruments,
    disk: StateDisk,
    /// The series of dropped samples, which the arenas count by themselves.
    dropped: Vec<(Reason, Arc<SeriesKey>)>,
}

impl ExportedSeries {
    /// What a worker for `task` exports of `store`; `worker_metrics` adds the metrics of the worker itself.
    pub fn new(
        store: Arc<Mutex<ArenaStore>>,
        task: &TaskDescription,
        worker_metrics: bool,
        instruments: Instruments,
        disk: StateDisk,
    ) -> Self {
        let wanted =
            Wanted { task_name: task.name.clone(), spec: task.metrics.clone(), worker: worker_metrics };
        let dropped = if worker_metrics { dropped_samples(&task.name) } else { Vec::new() };
        Self { store, wanted, instruments, disk, dropped }
    }
}

impl SnapshotSource for ExportedSeries {
    fn snapshot(&mut self) -> Snapshot {
        self.instruments.refresh(self.disk.free_bytes());
        let mut snapshot = self.store.lock().unwrap_or_else(PoisonError::into_inner).snapshot();
        snapshot.points.retain(|point| self.wanted.includes(&point.key));
        let total = |reason: Reason| Value::Counter(snapshot.dropped[reason as usize] as f64);
        let dropped: Vec<Point> = self
            .dropped
            .iter()
            .map(|(reason, key)| Point { key: Arc::clone(key), value: total(*reason) })
            .collect();
        snapshot.points.extend(dropped);
        snapshot
    }
}

impl Wanted {
    fn includes(&self, key: &SeriesKey) -> bool {
        let is_ours =
            key.labels().iter().any(|(label, value)| **label == *"task_name" && **value == *self.task_name);
        is_ours && self.includes_name(key.name())
    }

    fn includes_name(&self, name: &str) -> bool {
        if name.starts_with(WORKER_PREFIX) {
            return self.worker;
        }
        let Some(spec) = &self.spec else { return false };
        match name.strip_prefix(RUNTIME_PREFIX) {
            Some("task_attempt_duration_seconds") => spec.attempts,
            Some("workspace_io_duration_seconds" | "workspace_io_bytes") => spec.workspace_io,
            Some("busy_slots") => spec.worker_capacity,
            _ => true,
        }
    }
}

fn dropped_samples(task_name: &str) -> Vec<(Reason, Arc<SeriesKey>)> {
    let rules = Rules::new(task_name, []);
    Reason::ALL
        .into_iter()
        .filter(|reason| reason.drops_sample())
        .filter_map(|reason| {
            let labels = [("reason", reason.code())];
            let key = rules.worker_key(Kind::Counter, "dropped_samples_total", &labels).ok()?;
            Some((reason, Arc::new(key)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use perago_contract::failure::FailureCode;
    use perago_metrics::{ArenaWriter, Recorder, RecorderOptions, StoreOptions};

    use super::*;
    use crate::instruments::Recording;
    use crate::worker_instruments::{AttemptOutcome, RestartCause, WorkerInstruments};
    use crate::workspace::{Operation, Transfer};

    /// The most series of the worker itself, whatever happens to it.
    const MOST_WORKER_SERIES: usize = 60;

    struct Bench {
        store: Arc<Mutex<ArenaStore>>,
        recorder: Recorder,
        instruments: Instruments,
        _folder: tempfile::TempDir,
    }

    fn bench(worker: bool) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let mut store = ArenaStore::open(folder.path(), StoreOptions::default()).unwrap();
        let path = store.slot("supervisor").unwrap();
        store.begin_generation("supervisor").unwrap();
        let writer = ArenaWriter::open(&path).unwrap();
        let recorder = Recorder::new(writer, RecorderOptions::new("audio.mix", |_| {}));
        let instruments = Instruments::default();
        instruments.begin(Recording {
            attempt_duration: Some(recorder.runtime_histogram("task_attempt_duration_seconds", &[])),
            busy_slots: Some(recorder.runtime_gauge("busy_slots", &[("perago_instance_id", "mix-1")])),
            workspace_io: None,
            worker: worker.then(|| WorkerInstruments::new(recorder.clone(), 2)),
        });
        recorder.runtime_histogram("workspace_io_bytes", &[("operation", "upload")]).record(1.0);
        recorder.histogram("items", 1.0, &[]);
        instruments.attempt_ended(1.0);
        Bench { store: Arc::new(Mutex::new(store)), recorder, instruments, _folder: folder }
    }

    impl Bench {
        fn exported(&self, spec: Option<MetricSpec>, worker: bool) -> Snapshot {
            let wanted = Wanted { task_name: "audio.mix".to_owned(), spec, worker };
            let dropped = if worker { dropped_samples("audio.mix") } else { Vec::new() };
            let (store, instruments) = (Arc::clone(&self.store), self.instruments.clone());
            ExportedSeries { store, wanted, instruments, disk: StateDisk::of(Some(7)), dropped }.snapshot()
        }

        fn names(&self, spec: Option<MetricSpec>, worker: bool) -> BTreeSet<String> {
            let snapshot = self.exported(spec, worker);
            snapshot.points.iter().map(|point| point.key.name().to_owned()).collect()
        }
    }

    const ALL: [&str; 4] = [
        "app.items",
        "runtime.busy_slots",
        "runtime.task_attempt_duration_seconds",
        "runtime.workspace_io_bytes",
    ];

    fn without(name: &str) -> BTreeSet<String> {
        ALL.iter().filter(|own| **own != name).map(|own| (*own).to_owned()).collect()
    }

    #[test]
    fn each_switch_takes_away_its_own_series_and_no_other() {
        let bench = bench(false);
        let all = MetricSpec::default();
        assert_eq!(bench.names(Some(all.clone()), false), without(""));
        for (spec, name) in [
            (MetricSpec { attempts: false, ..all.clone() }, "runtime.task_attempt_duration_seconds"),
            (MetricSpec { workspace_io: false, ..all.clone() }, "runtime.workspace_io_bytes"),
            (MetricSpec { worker_capacity: false, ..all }, "runtime.busy_slots"),
        ] {
            assert_eq!(bench.names(Some(spec), false), without(name), "{name}");
        }
        assert!(bench.names(None, false).is_empty());
    }

    #[test]
    fn metrics_of_the_worker_change_no_series_of_the_task() {
        let bench = bench(true);
        let all = Some(MetricSpec::default());
        assert_eq!(bench.names(all.clone(), false), without(""));
        let (own, others): (BTreeSet<String>, BTreeSet<String>) =
            bench.names(all, true).into_iter().partition(|name| name.starts_with(WORKER_PREFIX));
        assert_eq!(others, without(""));
        assert_eq!(bench.names(None, true), own);
    }

    #[test]
    fn series_of_another_task_on_the_same_directory_are_not_exported() {
        let bench = bench(false);
        let other = Rules::new("audio.render", []);
        assert!(
            !Wanted { task_name: "audio.mix".to_owned(), spec: Some(MetricSpec::default()), worker: true }
                .includes(&other.runtime_key(Kind::Gauge, "busy_slots", &[]).unwrap())
        );
        assert_eq!(bench.names(Some(MetricSpec::default()), false), without(""));
    }

    #[test]
    fn whatever_happens_a_worker_has_few_series_of_its_own() {
        let bench = bench(true);
        for code in FailureCode::ALL.iter().map(|code| code.code()).chain(["made_up", "another"]) {
            bench.instruments.attempt_closed(&AttemptOutcome::Failed(code.to_owned()));
        }
        for outcome in [
            AttemptOutcome::Completed,
            AttemptOutcome::Lost,
            AttemptOutcome::Superseded,
            AttemptOutcome::Undelivered,
            AttemptOutcome::Released,
        ] {
            bench.instruments.attempt_closed(&outcome);
        }
        for cause in RestartCause::ALL {
            bench.instruments.executor_restarted(cause);
        }
        bench.instruments.poll_failed();
        bench.instruments.push_failed();
        bench.instruments.result_waits(1);
        bench.instruments.workspace_moved(&Transfer {
            operation: Operation::Download,
            duration: Duration::from_secs(1),
            bytes: Some(12),
            cached_bytes: 7,
        });
        let snapshot = bench.exported(None, true);
        let expected =
            FailureCode::ALL.len() + 1 + 5 + RestartCause::ALL.len() + dropped_samples("t").len() + 10;
        assert_eq!(snapshot.points.len(), expected);
        assert!(expected <= MOST_WORKER_SERIES, "{expected} series");
        let names: Vec<&str> = snapshot.points.iter().map(|point| point.key.name()).collect();
        for point in &snapshot.points {
            let is_total = matches!(point.value, Value::Counter(_));
            assert_eq!(point.key.name().ends_with("_total"), is_total, "{point:?}");
        }
        let of = |name: &str| {
            let found = snapshot.points.iter().find(|point| point.key.name() == name);
            found.unwrap_or_else(|| panic!("{name} is not among {names:?}")).value.clone()
        };
        assert_eq!(of("perago.slots"), Value::Gauge(2.0));
        assert_eq!(of("perago.undelivered_results"), Value::Gauge(1.0));
        assert_eq!(of("perago.state_directory_free_bytes"), Value::Gauge(7.0));
        assert_eq!(of("perago.build_info"), Value::Gauge(1.0));
        assert_eq!(of("perago.poll_errors_total"), Value::Counter(1.0));
        let mut sources: Vec<(&str, Value)> = snapshot
            .points
            .iter()
            .filter(|point| point.key.name() == "perago.workspace_bytes_total")
            .map(|point| (&*point.key.labels()[0].1, point.value.clone()))
            .collect();
        sources.sort_by_key(|(source, _)| *source);
        assert_eq!(sources, [("cache", Value::Counter(7.0)), ("network", Value::Counter(5.0))]);
    }

    #[test]
    fn dropped_samples_are_counted_by_reason() {
        let bench = bench(true);
        bench.recorder.histogram("items", -1.0, &[]);
        bench.recorder.histogram("items", f64::NAN, &[]);
        bench.recorder.histogram("items", f64::NAN, &[]);
        bench.recorder.histogram("items", 1.0, &[("task_id", "a label that is dropped, not a sample")]);
        let snapshot = bench.exported(None, true);
        let dropped: Vec<(String, Value)> = snapshot
            .points
            .iter()
            .filter(|point| point.key.name() == "perago.dropped_samples_total")
            .filter(|point| point.value != Value::Counter(0.0))
            .map(|point| (point.key.labels()[0].1.to_string(), point.value.clone()))
            .collect();
        assert_eq!(
            dropped,
            [
                ("value_not_finite".to_owned(), Value::Counter(2.0)),
                ("value_negative".to_owned(), Value::Counter(1.0)),
            ]
        );
    }

    #[test]
    fn busy_slots_are_never_stale() {
        let bench = bench(true);
        let busy = || {
            let snapshot = bench.exported(Some(MetricSpec::default()), true);
            let of = |name: &str| {
                snapshot.points.iter().find(|point| point.key.name() == name).map(|point| point.value.clone())
            };
            assert_eq!(of("runtime.busy_slots"), of("perago.busy_slots"));
            of("runtime.busy_slots")
        };
        assert_eq!(busy(), Some(Value::Gauge(0.0)));
        bench.instruments.slot_taken();
        bench.instruments.slot_taken();
        assert_eq!(busy(), Some(Value::Gauge(2.0)));
        bench.instruments.slot_freed();
        assert_eq!(busy(), Some(Value::Gauge(1.0)));
    }
}
