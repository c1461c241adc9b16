//! What the supervisor itself measures: the task's built-in metrics, and those of the worker where they are wanted.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use perago_metrics::{GaugeHandle, HistogramHandle, Recorder};

use crate::worker_instruments::{AttemptOutcome, RestartCause, WorkerInstruments};
use crate::workspace::{Operation, Transfer};

/// A cheap handle to the instruments of one worker; nothing is recorded before [`Self::begin`].
#[derive(Debug, Clone, Default)]
pub struct Instruments(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    busy: Cell<u32>,
    /// What happened before it was known what is to be recorded.
    early_restarts: RefCell<Vec<RestartCause>>,
    recording: OnceCell<Recording>,
}

/// The series that are recorded.
#[derive(Debug, Default)]
pub struct Recording {
    /// `runtime.task_attempt_duration_seconds`, if switched on.
    pub attempt_duration: Option<HistogramHandle>,
    /// `runtime.busy_slots`, if switched on.
    pub busy_slots: Option<GaugeHandle>,
    /// `runtime.workspace_io_*`, if switched on for a workspace task.
    pub workspace_io: Option<WorkspaceInstruments>,
    /// The metrics of the worker, if `PERAGO_WORKER_METRICS` is set.
    pub worker: Option<WorkerInstruments>,
}

/// Histograms of what the workspaces of a task's attempts take.
#[derive(Debug)]
pub struct WorkspaceInstruments {
    /// `runtime.workspace_io_duration_seconds` of each operation.
    seconds: [(Operation, HistogramHandle); 3],
    /// `runtime.workspace_io_bytes` of those that carry files.
    bytes: [(Operation, HistogramHandle); 2],
}

impl WorkspaceInstruments {
    /// The series of one task.
    pub fn new(recorder: &Recorder) -> Self {
        let of = |name: &str, operation: Operation| {
            (operation, recorder.runtime_histogram(name, &[("operation", operation.label())]))
        };
        Self {
            seconds: [Operation::Download, Operation::Upload, Operation::Publish]
                .map(|operation| of("workspace_io_duration_seconds", operation)),
            bytes: [Operation::Download, Operation::Upload]
                .map(|operation| of("workspace_io_bytes", operation)),
        }
    }

    fn moved(&self, transfer: &Transfer) {
        for (_, seconds) in self.seconds.iter().filter(|(operation, _)| *operation == transfer.operation) {
            seconds.record(transfer.duration.as_secs_f64());
        }
        for (_, bytes) in self.bytes.iter().filter(|(operation, _)| *operation == transfer.operation) {
            if let Some(carried) = transfer.bytes {
                bytes.record(carried as f64);
            }
        }
    }
}

impl Instruments {
    /// Records from now on, starting with the present number of busy slots. Only the first call counts.
    pub fn begin(&self, recording: Recording) {
        let recording = self.0.recording.get_or_init(|| recording);
        if let Some(worker) = &recording.worker {
            for cause in self.0.early_restarts.take() {
                worker.executor_restarted(cause);
            }
        }
        self.show_busy();
    }

    /// A task took a slot.
    pub fn slot_taken(&self) {
        self.0.busy.set(self.0.busy.get() + 1);
        self.show_busy();
    }

    /// A slot is free again.
    pub fn slot_freed(&self) {
        self.0.busy.set(self.0.busy.get().saturating_sub(1));
        self.show_busy();
    }

    /// An attempt ended after `seconds`, whatever its outcome.
    pub fn attempt_ended(&self, seconds: f64) {
        if let Some(histogram) =
            self.0.recording.get().and_then(|recording| recording.attempt_duration.as_ref())
        {
            histogram.record(seconds);
        }
    }

    /// A transfer of a workspace has ended.
    pub fn workspace_moved(&self, transfer: &Transfer) {
        if let Some(workspace_io) =
            self.0.recording.get().and_then(|recording| recording.workspace_io.as_ref())
        {
            workspace_io.moved(transfer);
        }
        if let (Operation::Download, Some(bytes)) = (transfer.operation, transfer.bytes) {
            let from_network = bytes.saturating_sub(transfer.cached_bytes);
            self.with_worker(|worker| worker.workspace_filled(from_network, transfer.cached_bytes));
        }
    }

    /// An attempt is closed with this outcome.
    pub fn attempt_closed(&self, outcome: &AttemptOutcome) {
        self.with_worker(|worker| worker.attempt_closed(outcome));
    }

    /// The outcome of attempt `number` is known and not yet with the server.
    pub fn result_waits(&self, number: u64) {
        self.with_worker(|worker| worker.result_waits(number));
    }

    /// The outcome of attempt `number` is with the server, or given up.
    pub fn result_settled(&self, number: u64) {
        self.with_worker(|worker| worker.result_settled(number));
    }

    /// An executor is being replaced.
    pub fn executor_restarted(&self, cause: RestartCause) {
        match self.0.recording.get() {
            None => self.0.early_restarts.borrow_mut().push(cause),
            Some(recording) => {
                if let Some(worker) = &recording.worker {
                    worker.executor_restarted(cause);
                }
            }
        }
    }

    /// A poll failed.
    pub fn poll_failed(&self) {
        self.with_worker(WorkerInstruments::poll_failed);
    }

    /// A push of metrics failed.
    pub fn push_failed(&self) {
        self.with_worker(WorkerInstruments::push_failed);
    }

    /// Brings what changes with time alone up to date, before it is exported.
    pub fn refresh(&self, state_directory_free_bytes: Option<u64>) {
        self.with_worker(|worker| worker.refresh(self.busy(), state_directory_free_bytes));
    }

    /// Slots that hold a task.
    pub fn busy(&self) -> u32 {
        self.0.busy.get()
    }

    fn with_worker(&self, record: impl FnOnce(&WorkerInstruments)) {
        if let Some(worker) = self.0.recording.get().and_then(|recording| recording.worker.as_ref()) {
            record(worker);
        }
    }

    fn show_busy(&self) {
        if let Some(gauge) = self.0.recording.get().and_then(|recording| recording.busy_slots.as_ref()) {
            gauge.set(f64::from(self.busy()));
        }
    }
}
