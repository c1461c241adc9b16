//! The metrics of the worker itself, `perago.*`: few series, for every task, only if `PERAGO_WORKER_METRICS` is set.
//!
//! Names end as every naming mode of a store would have them end, so that none renames a series.

use std::cell::RefCell;
use std::collections::BTreeMap;

use perago_contract::failure::FailureCode;
use perago_metrics::{CounterHandle, GaugeHandle, Recorder};
use tokio::time::Instant;

/// How an attempt ended for the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Its result is with the server.
    Completed,
    /// Its failure, which has this code, is with the server.
    Failed(String),
    /// The task was no longer ours: nothing was reported.
    Lost,
    /// Another claim holds the task: the outcome was not used.
    Superseded,
    /// The outcome could not be delivered.
    Undelivered,
    /// Given back to the queue when the worker stopped.
    Released,
}

/// Why an executor was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartCause {
    /// It ended by itself.
    Exited,
    /// A signal that was not ours killed it.
    Killed,
    /// We killed it to stop its body.
    BodyStopped,
    /// It closed its channel and was killed for it.
    ChannelLost,
    /// It could not be started.
    NotStarted,
}

impl RestartCause {
    /// Every cause.
    pub const ALL: [Self; 5] =
        [Self::Exited, Self::Killed, Self::BodyStopped, Self::ChannelLost, Self::NotStarted];

    /// The value of the label `cause`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Killed => "killed",
            Self::BodyStopped => "body_stopped",
            Self::ChannelLost => "channel_lost",
            Self::NotStarted => "not_started",
        }
    }
}

/// The instruments of one worker.
#[derive(Debug)]
pub struct WorkerInstruments {
    recorder: Recorder,
    slots: u32,
    slots_gauge: GaugeHandle,
    busy_slots: GaugeHandle,
    undelivered_results: GaugeHandle,
    oldest_undelivered_result_age: GaugeHandle,
    state_directory_free: GaugeHandle,
    build_info: GaugeHandle,
    poll_errors: CounterHandle,
    failed_pushes: CounterHandle,
    workspace_bytes_from_network: CounterHandle,
    workspace_bytes_from_cache: CounterHandle,
    waiting: RefCell<BTreeMap<u64, Instant>>,
}

impl WorkerInstruments {
    /// Instruments of a worker with `slots` slots that record through `recorder`.
    pub fn new(recorder: Recorder, slots: u32) -> Self {
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("architecture", std::env::consts::ARCH),
            ("operating_system", std::env::consts::OS),
        ];
        let this = Self {
            slots,
            slots_gauge: recorder.worker_gauge("slots", &[]),
            busy_slots: recorder.worker_gauge("busy_slots", &[]),
            undelivered_results: recorder.worker_gauge("undelivered_results", &[]),
            oldest_undelivered_result_age: recorder
                .worker_gauge("oldest_undelivered_result_age_seconds", &[]),
            state_directory_free: recorder.worker_gauge("state_directory_free_bytes", &[]),
            build_info: recorder.worker_gauge("build_info", &build),
            poll_errors: recorder.worker_counter("poll_errors_total", &[]),
            failed_pushes: recorder.worker_counter("failed_pushes_total", &[]),
            workspace_bytes_from_network: recorder
                .worker_counter("workspace_bytes_total", &[("source", "network")]),
            workspace_bytes_from_cache: recorder
                .worker_counter("workspace_bytes_total", &[("source", "cache")]),
            recorder,
            waiting: RefCell::default(),
        };
        // A series that begins with its first event hides that event from rates.
        this.poll_errors.add(0.0);
        this.failed_pushes.add(0.0);
        this.workspace_filled(0, 0);
        this.attempts(&AttemptOutcome::Completed).add(0.0);
        for cause in RestartCause::ALL {
            this.restarts(cause).add(0.0);
        }
        this
    }

    /// An attempt is closed with this outcome.
    pub fn attempt_closed(&self, outcome: &AttemptOutcome) {
        self.attempts(outcome).add(1.0);
    }

    /// The outcome of attempt `number` is known and not yet with the server.
    pub fn result_waits(&self, number: u64) {
        self.waiting.borrow_mut().insert(number, Instant::now());
    }

    /// The outcome of attempt `number` is with the server, or given up.
    pub fn result_settled(&self, number: u64) {
        self.waiting.borrow_mut().remove(&number);
    }

    /// An executor is being replaced.
    pub fn executor_restarted(&self, cause: RestartCause) {
        self.restarts(cause).add(1.0);
    }

    /// A poll failed.
    pub fn poll_failed(&self) {
        self.poll_errors.add(1.0);
    }

    /// A push of metrics failed.
    pub fn push_failed(&self) {
        self.failed_pushes.add(1.0);
    }

    /// A workspace was filled with so many bytes from the store and from the cache of the host.
    pub fn workspace_filled(&self, from_network: u64, from_cache: u64) {
        self.workspace_bytes_from_network.add(from_network as f64);
        self.workspace_bytes_from_cache.add(from_cache as f64);
    }

    /// Sets every gauge to what holds now.
    pub fn refresh(&self, busy: u32, state_directory_free_bytes: Option<u64>) {
        self.slots_gauge.set(f64::from(self.slots));
        self.busy_slots.set(f64::from(busy));
        self.build_info.set(1.0);
        if let Some(bytes) = state_directory_free_bytes {
            self.state_directory_free.set(bytes as f64);
        }
        let waiting = self.waiting.borrow();
        let oldest = waiting.values().min().map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.undelivered_results.set(waiting.len() as f64);
        self.oldest_undelivered_result_age.set(oldest);
    }

    fn restarts(&self, cause: RestartCause) -> CounterHandle {
        self.recorder.worker_counter("executor_restarts_total", &[("cause", cause.code())])
    }

    fn attempts(&self, outcome: &AttemptOutcome) -> CounterHandle {
        let labels = match outcome {
            AttemptOutcome::Completed => [("outcome", "completed"), ("failure_code", "")],
            AttemptOutcome::Lost => [("outcome", "lost"), ("failure_code", "")],
            AttemptOutcome::Superseded => [("outcome", "superseded"), ("failure_code", "")],
            AttemptOutcome::Undelivered => [("outcome", "undelivered"), ("failure_code", "")],
            AttemptOutcome::Released => [("outcome", "released"), ("failure_code", "")],
            AttemptOutcome::Failed(code) => {
                // The catalogue bounds the number of series, whatever an executor says.
                let known = FailureCode::from_code(code);
                let is_terminal = known.is_some_and(FailureCode::is_terminal);
                let outcome = if is_terminal { "failed_terminally" } else { "failed" };
                [("outcome", outcome), ("failure_code", known.map_or("unknown", FailureCode::code))]
            }
        };
        self.recorder.worker_counter("attempts_total", &labels)
    }
}
