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
