//! What a simulation does, and what has happened in it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

/// Name of the simulated task and of its workflow.
pub(super) const TASK: &str = "simulated";

/// The lease that the server grants, in seconds.
pub(super) const RESPONSE_TIMEOUT_SECONDS: u64 = 60;

/// What a simulation is asked to do.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Simulated time under load and faults.
    pub lasts: Duration,
    /// Slots of the worker.
    pub slots: u32,
    /// Feeds everything that is random.
    pub seed: u64,
    /// Longest body; the shortest takes 5 ms, and as many are below as above their geometric mean.
    pub longest_body: Duration,
    /// Mean time between two outages of the server.
    pub outage_every: Duration,
    /// Longest outage.
    pub longest_outage: Duration,
    /// Mean time between two ends of the supervisor, half of them kills; `None`: it lives throughout.
    pub restart_every: Option<Duration>,
    /// Mean time between two kills of an executor.
    pub kill_every: Duration,
    /// Time between two looks at what is used.
    pub look_every: Duration,
}

impl Plan {
    const SHORTEST_BODY: Duration = Duration::from_millis(5);

    /// How long the body of a run takes.
    pub fn body_of(&self, number: u64) -> Duration {
        let mut source = Rng::with_seed(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (low, high) = (Self::SHORTEST_BODY.as_secs_f64(), self.longest_body.as_secs_f64());
        Duration::from_secs_f64(low * (high / low).powf(source.f64()))
    }

    /// The mean of all bodies.
    pub fn mean_body(&self) -> Duration {
        let (low, high) = (Self::SHORTEST_BODY.as_secs_f64(), self.longest_body.as_secs_f64());
        Duration::from_secs_f64((high - low) / (high / low).ln())
    }

    /// Whether the run of a number must fail for good.
    pub fn is_refused(number: u64) -> bool {
        number % 97 == 13
    }

    /// What becomes of one attempt.
    pub fn fate_of(&self, number: u64, retry_count: u32, poll_count: i64) -> Fate {
        if Self::is_refused(number) {
            return Fate::Refuses;
        }
        let mixed = number << 24 ^ u64::from(retry_count) << 12 ^ poll_count as u64;
        match Rng::with_seed(!self.seed ^ mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15)).u32(0..200) {
            0..6 => Fate::Fails,
            6..9 => Fate::Exits,
            9..11 => Fate::Crashes,
            11 => Fate::Hangs,
            _ => Fate::Completes,
        }
    }

    /// The server gives an attempt up after this many seconds.
    pub fn timeout_seconds(&self) -> u64 {
        2 * self.longest_body.as_secs() + 120
    }
}

/// What becomes of an attempt whose body is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It returns its result.
    Completes,
    /// It raises an error that a retry may mend.
    Fails,
    /// It raises an error for good.
    Refuses,
    /// Its process ends with an exit code.
    Exits,
    /// Its process is killed by a signal.
    Crashes,
    /// It never ends by itself.
    Hangs,
}

/// What everything in a simulation shares.
#[derive(Debug)]
pub(super) struct World {
    /// What is asked for.
    pub plan: Plan,
    /// What has happened.
    pub facts: Facts,
    source: RefCell<Rng>,
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(plan: Plan) -> Self {
        let source = RefCell::new(Rng::with_seed(plan.seed.wrapping_mul(31)));
        Self { plan, facts: Facts::default(), source }
    }

    /// Whether something comes true that does so once in `times`.
    pub fn once_in(&self, times: u32) -> bool {
        self.source.borrow_mut().u32(0..times) == 0
    }

    /// A time between two others.
    pub fn between(&self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.source.borrow_mut().f64())
    }

    /// The time until an event that comes once in `mean` on average.
    pub fn until_next(&self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.source.borrow_mut().f64()).ln())
    }

    /// A number below `end`.
    pub fn below(&self, end: usize) -> usize {
        self.source.borrow_mut().usize(0..end)
    }
}

/// Counts of what has happened.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Bodies that were begun.
    pub bodies: Cell<u64>,
    /// Bodies that ended by themselves with a result, by run; settled runs are taken out.
    pub completed_bodies: RefCell<BTreeMap<u64, u64>>,
    /// Bodies that were told to stop.
    pub cancelled: Cell<u64>,
    /// Executors that ended otherwise than by an order to stop.
    pub executor_deaths: Cell<u64>,
    /// Supervisors that were killed.
    pub kills: Cell<u64>,
    /// Supervisors that were told to stop, and ended.
    pub drains: Cell<u64>,
    /// Supervisors that could not start.
    pub failed_starts: Cell<u64>,
    /// Outages of the server.
    pub outages: Cell<u64>,
}

/// Adds one.
pub(super) fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}
