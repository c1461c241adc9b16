//! The worker's side of the metrics path: arenas for the executors and itself, and the exporter.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perago_contract::TaskDescription;
use perago_metrics::{
    ArenaOptions, ArenaStore, ArenaWriter, Error, Form, LadderRules, MetricWarning, Recorder,
    RecorderOptions, Rules, StoreEvent, StoreOptions,
};
use thiserror::Error as ThisError;

use crate::instruments::{Recording, WorkspaceInstruments};
use crate::logs::{Level, Logger, Record};
use crate::settings::{HistogramAggregation, MetricsSettings, Settings};
use crate::worker_instruments::WorkerInstruments;

/// The arena that the supervisor records into.
const OWN_ARENA: &str = "supervisor";

/// Why metrics cannot be recorded.
#[derive(Debug, ThisError)]
pub enum MetricsError {
    /// The files cannot be made.
    #[error("metrics cannot be recorded: {0}")]
    Arena(#[from] Error),
    /// The exporter cannot be made.
    #[error("metrics cannot be exported: {0}")]
    Export(#[from] perago_otlp::Error),
}

impl MetricsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Arena(error) => error.hint(),
            Self::Export(error) => error.hint(),
        }
    }
}

/// The arenas of one worker; none when no metrics are exported.
#[derive(Debug, Clone, Default)]
pub struct Arenas(Option<Arc<Mutex<ArenaStore>>>);

impl Arenas {
    /// Opens the arenas of `executors` below the state directory. Totals of earlier runs go on in the same files, also
    /// those of executors that there are no more.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn open(settings: &Settings, state_directory: &Path, executors: u32) -> Result<Self, MetricsError> {
        let Some(metrics) = settings.metrics.as_ref().filter(|metrics| !metrics.is_disabled) else {
            return Ok(Self(None));
        };
        let ladders = LadderRules::default().with_form(form(metrics));
        let arena = ArenaOptions::for_bounds(metrics.label_sets, ladders.most_bounds());
        let options = StoreOptions { arena, ladders, label_sets: metrics.label_sets };
        let mut store = ArenaStore::open(&state_directory.join("arenas"), options)?;
        store.end_all_generations()?;
        let in_use: Vec<String> = (0..executors).map(executor_arena).chain([OWN_ARENA.to_owned()]).collect();
        store.retire_others(&in_use);
        // A worker that cannot record is better told now than when an executor is replaced.
        for name in &in_use {
            store.slot(name)?;
        }
        Ok(Self(Some(Arc::new(Mutex::new(store)))))
    }

    /// Makes the arena of the executor at `index` ready for a new process and returns its path.
    ///
    /// Without a usable file the process records nothing, and the log says so.
    pub fn begin_executor(&self, index: u32, logger: &Logger) -> Option<String> {
        let name = executor_arena(index);
        let mut store = self.store()?;
        match store.slot(&name).and_then(|path| store.begin_generation(&name).map(|_| path)) {
            Ok(path) => path.to_str().map(str::to_owned),
            Err(error) => {
                let message = "the metrics of this slot cannot be recorded until its next start";
                logger.write(
                    Record::new(Level::Error, "metrics_unreadable", message)
                        .with("slot", index + 1)
                        .with("reason", error.to_string()),
                );
                None
            }
        }
    }

    /// The process at `index` is dead: what it showed on gauges no longer holds.
    pub fn end_executor(&self, index: u32) {
        if let Some(mut store) = self.store() {
            let _ = store.end_generation(&executor_arena(index));
        }
    }

    /// The series that the supervisor records for a worker of `slots` slots: the built-in ones that the task has
    /// switched on, and those of the worker if they are wanted.
    ///
    /// # Errors
    /// When the supervisor's own arena cannot be made.
    pub fn recording(
        &self,
        settings: &Settings,
        task: &TaskDescription,
        slots: u32,
        resource_attribute_keys: Vec<String>,
        logger: &Logger,
    ) -> Result<Recording, MetricsError> {
        let (Some(metrics), Some(mut store)) = (&settings.metrics, self.store()) else {
            return Ok(Recording::default());
        };
        if task.metrics.is_none() && !settings.worker_metrics {
            return Ok(Recording::default());
        }
        let buckets = task.metrics.iter().flat_map(|spec| &spec.buckets);
        let bounds = buckets.map(|(name, bounds)| (&**name, &**bounds));
        let ladders = LadderRules::new(bounds)?.with_form(form(metrics));
        let arena = ArenaOptions::for_bounds(metrics.label_sets, ladders.most_bounds());
        store.set_layout(ladders.clone(), arena);
        let path = store.slot(OWN_ARENA)?;
        store.begin_generation(OWN_ARENA)?;
        drop(store);
        let logger = logger.clone();
        let mut options = RecorderOptions::new(&task.name, move |warning: MetricWarning| {
            logger.write(
                Record::new(
                    Level::Warning,
                    "metric_warning",
                    "a built-in metric was not recorded as it should",
                )
                .with("metric_name", warning.metric_name)
                .with("reason", warning.reason.code()),
            );
        });
        options.rules = Rules::new(&task.name, resource_attribute_keys);
        options.ladders = ladders;
        let recorder = Recorder::new(ArenaWriter::open(&path)?, options);
        let instance = [("perago_instance_id", metrics.instance_id.as_deref().unwrap_or_default())];
        let spec = task.metrics.as_ref();
        Ok(Recording {
            attempt_duration: spec
                .filter(|spec| spec.attempts)
                .map(|_| recorder.runtime_histogram("task_attempt_duration_seconds", &[])),
            busy_slots: spec
                .filter(|spec| spec.worker_capacity)
                .map(|_| recorder.runtime_gauge("busy_slots", &instance)),
            workspace_io: spec
                .filter(|spec| spec.workspace_io && task.has_workspace())
                .map(|_| WorkspaceInstruments::new(&recorder)),
            worker: settings.worker_metrics.then(|| WorkerInstruments::new(recorder, slots)),
        })
    }

    /// The store as the exporter reads it.
    pub fn shared_store(&self) -> Option<Arc<Mutex<ArenaStore>>> {
        self.0.clone()
    }

    /// Writes what happened to the arenas into the log.
    pub fn log_events(&self, logger: &Logger) {
        let events = self.store().map(|mut store| store.take_events()).unwrap_or_default();
        for event in events {
            logger.write(record_of(event));
        }
    }

    fn store(&self) -> Option<MutexGuard<'_, ArenaStore>> {
        self.0.as_ref().map(|store| store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn form(metrics: &MetricsSettings) -> Form {
    match metrics.histogram_aggregation {
        HistogramAggregation::ExplicitBucket => Form::Explicit,
        HistogramAggregation::ExponentialBucket => Form::Exponential,
    }
}

fn executor_arena(index: u32) -> String {
    format!("slot-{:04}", index + 1)
}

fn record_of(event: StoreEvent) -> Record {
    match event {
        StoreEvent::SetAside { path, error } => Record::new(
            Level::Error,
            "metrics_set_aside",
            "a damaged metrics file was set aside; totals go on from those exported last",
        )
        .with("path", path.display().to_string())
        .with("reason", error.to_string()),
        StoreEvent::DamagedEntries { path, count } => {
            Record::new(Level::Error, "metrics_damaged", "damaged series go on from what was exported last")
                .with("path", path.display().to_string())
                .with("series", count as u64)
        }
        StoreEvent::Unreadable { path, error } => {
            Record::new(Level::Error, "metrics_unreadable", "a metrics file cannot be read; its totals stand still")
                .with("path", path.display().to_string())
                .with("reason", error.to_string())
        }
        StoreEvent::Refused { metric_name, reason } => {
            Record::new(Level::Warning, "metric_refused", "a metric cannot be exported beside another")
                .with("metric_name", metric_name)
                .with("reason", reason.code())
        }
        StoreEvent::NotFolded { path, error } => Record::new(
            Level::Warning,
            "metrics_not_folded",
            "the totals of a metrics file without a writer cannot be put with the others; the file is kept",
        )
        .with("path", path.display().to_string())
        .with("reason", error.to_string()),
        StoreEvent::Overflow { metric_name, label_key, samples, other_metrics, limit } => Record::new(
            Level::Warning,
            "metric_label_sets_exceeded",
            format!(
                "{metric_name} has too many label sets, most of them by the label {label_key}; further ones share \
                 one series"
            ),
        )
        .with("metric_name", metric_name)
        .with("label_key", label_key)
        .with("samples", samples)
        .with("other_metrics", other_metrics as u64)
        .with("limit", limit as u64),
        StoreEvent::NotPersisted { error } => Record::new(
            Level::Warning,
            "metrics_not_persisted",
            "the exported totals or the order of label sets could not be written down",
        )
        .with("reason", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use perago_contract::{LAST_BOUND_OF_SECONDS, MOST_BUCKET_BOUNDS};
    use perago_metrics::{DEFAULT_LABEL_SETS, MAX_BOUNDS};

    use super::*;

    #[test]
    fn the_contract_knows_what_the_recorder_holds() {
        let ladders = LadderRules::default();
        let last = ladders.ladder("runtime.task_attempt_duration_seconds").bounds().last().copied();
        assert_eq!(last, Some(LAST_BOUND_OF_SECONDS));
        assert_eq!(MOST_BUCKET_BOUNDS, MAX_BOUNDS);
        assert_eq!(crate::settings::DEFAULT_METRIC_LABEL_SETS, DEFAULT_LABEL_SETS as u64);
    }
}
