//! The executors of one worker: started, restarted, reserved and stopped.
//!
//! Everything here lives on the supervisor's one thread: plain cells, no locks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::host::ExecutorHost;
use super::launch::{ExecutorProgram, LaunchOptions};
use super::message::{Assignment, Ended, Failure, ToExecutor};
use super::out_of_memory::OutOfMemoryKills;
use super::output::LastLines;
use super::process;
use super::result_file::AttemptId;
use crate::guardian::{ExitStatus, GuardianError, GuardianEvent};
use crate::instruments::Instruments;
use crate::logs::Logger;
use crate::metrics::Arenas;
use crate::settings::AttemptLimits;

/// How long an assignment waits for a slot whose executor is being replaced.
const READY_AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// What a pool is made of.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// The program that runs bodies.
    pub program: ExecutorProgram,
    /// What each executor is told; the arena is filled in by slot.
    pub launch: LaunchOptions,
    /// Processes to keep alive.
    pub processes: u32,
    /// Slots of each process: 1, or all of them in thread mode.
    pub slots_per_process: u32,
    /// Prefix of `PERAGO_WORKER_ID`, which bodies see.
    pub worker_id_prefix: String,
    /// The arenas that executors record into.
    pub arenas: Arenas,
    /// Told of every executor that is replaced.
    pub instruments: Instruments,
    /// A process that dies again and again is replaced after ever longer delays, up to this one.
    pub longest_restart_delay: Duration,
    /// What one attempt may take.
    pub limits: AttemptLimits,
    /// A process is replaced after so many bodies.
    pub most_tasks: Option<u64>,
}

impl PoolOptions {
    /// All slots of the worker.
    pub fn slots(&self) -> u32 {
        self.processes * self.slots_per_process
    }
}

/// How a process ended while it should have run.
#[derive(Debug, Clone)]
pub struct Death {
    /// Exit code or signal; `None` when it broke its channel and was stopped for it.
    pub status: Option<ExitStatus>,
    /// The last lines of its standard error.
    pub last_lines: String,
    /// Whether it never ran.
    pub is_stillborn: bool,
    /// Whether the kernel killed it because memory ran out.
    pub is_out_of_memory: bool,
}

impl Death {
    /// The death of a process that never ran.
    pub fn stillborn(reason: String) -> Self {
        Self { status: None, last_lines: reason, is_stillborn: true, is_out_of_memory: false }
    }

    /// How it ended, as the rest of a sentence.
    pub fn how(&self) -> String {
        match self.status {
            Some(_) if self.is_out_of_memory => {
                "was killed by the kernel because memory ran out (SIGKILL)".to_owned()
            }
            Some(status) => status.to_string(),
            None => "broke its channel".to_owned(),
        }
    }
}

/// How a body ended, as seen by the supervisor.
#[derive(Debug)]
pub enum BodyEnd {
    /// The executor said so.
    Ended(Box<Ended>),
    /// The executor died with it.
    Died(Death),
    /// The executor died before it had read the assignment: nothing has happened.
    NotRead,
    /// It was not started, because the input cannot be used, or it was stopped at a limit.
    Refused(Failure),
}

/// What the first executor to finish its import has to say.
#[derive(Debug, Clone)]
pub enum Readiness {
    /// Nothing yet.
    Pending,
    /// Ready; the module's description as JSON.
    Ready(Rc<RawValue>),
    /// The module cannot be used; the description as JSON.
    Unready(Rc<RawValue>),
    /// The process ended before it said anything.
    Died(Death),
    /// The process could not be started.
    Refused(String),
}

/// Why a body was not started.
#[derive(Debug, Error)]
pub enum AssignError {
    /// The slot's executor did not become ready in time.
    #[error("no executor became ready")]
    NotReady,
}

/// A cheap handle to the executors.
#[derive(Clone)]
pub struct Pool(pub(super) Rc<Inner>);

/// The state behind [`Pool`]; `process` works on it.
pub(super) struct Inner {
    pub(super) options: PoolOptions,
    pub(super) host: Rc<dyn ExecutorHost>,
    pub(super) logger: Logger,
    pub(super) executors: Vec<Executor>,
    pub(super) by_token: RefCell<HashMap<u64, mpsc::UnboundedSender<GuardianEvent>>>,
    pub(super) next_token: Cell<u64>,
    pub(super) changed: Notify,
    /// A body begins.
    pub(super) busy: Notify,
    pub(super) readiness: watch::Sender<Readiness>,
    pub(super) stopping: Cell<bool>,
    pub(super) out_of_memory: OutOfMemoryKills,
    on_body_line: OnBodyLine,
}

/// Called for every line that an executor logs or prints.
type OnBodyLine = Box<dyn Fn(super::message::LogLine)>;

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// One process's place.
#[derive(Debug)]
pub(super) struct Executor {
    /// Index in the pool, from 0.
    pub(super) index: u32,
    /// Its process id, once the process runs.
    pub(super) pid: Cell<i32>,
    /// The live process, once ready.
    pub(super) live: RefCell<Option<Live>>,
    /// Slots that nobody has reserved.
    pub(super) free: RefCell<BTreeSet<u32>>,
    /// The live process is being ended by us to stop its body.
    pub(super) is_body_stopped: Cell<bool>,
    /// The live process is ending because it has run as many bodies as it may.
    pub(super) is_recycled: Cell<bool>,
    /// Kills for want of memory before its process or the last body was started.
    pub(super) out_of_memory_before: Cell<u64>,
}

/// A body that a process was given.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) end: oneshot::Sender<BodyEnd>,
    /// Whose body it is.
    pub(super) id: AttemptId,
    pub(super) slot: u32,
    /// Why the process is being killed, if it is for a limit.
    pub(super) refused: Option<Failure>,
    /// Whether the process has said that it read the assignment.
    pub(super) is_read: bool,
    /// Whether it was told to stop.
    pub(super) is_stopped: bool,
    /// How it ended after that; what it has started may still live.
    pub(super) ended: Option<Box<Ended>>,
}

/// A process that has said it is ready.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) token: u64,
    pub(super) outbox: mpsc::UnboundedSender<ToExecutor>,
    pub(super) running: HashMap<u64, Running>,
    pub(super) last_lines: LastLines,
    /// Digits that stand for the code that it has imported, if it has said so.
    pub(super) code_hash: Option<String>,
    /// Bodies that it was given.
    pub(super) tasks: u64,
    /// It has closed its channel: it is about to end and takes no more assignments.
    pub(super) closed: bool,
}

impl Pool {
    /// Starts every executor. Needs a `LocalSet`.
    ///
    /// `on_body_line` sees every line that an executor logs or prints.
    pub fn start(
        options: PoolOptions,
        host: Rc<dyn ExecutorHost>,
        logger: Logger,
        on_body_line: impl Fn(super::message::LogLine) + 'static,
    ) -> Self {
        let executors = (0..options.processes)
            .map(|index| {
                let first = index * options.slots_per_process + 1;
                Executor {
                    index,
                    pid: Cell::new(0),
                    live: RefCell::new(None),
                    free: RefCell::new((first..first + options.slots_per_process).collect()),
                    is_body_stopped: Cell::new(false),
                    is_recycled: Cell::new(false),
                    out_of_memory_before: Cell::new(0),
                }
            })
            .collect();
        let pool = Self(Rc::new(Inner {
            options,
            host,
            logger,
            executors,
            by_token: RefCell::default(),
            next_token: Cell::new(1),
            changed: Notify::new(),
            busy: Notify::new(),
            readiness: watch::channel(Readiness::Pending).0,
            stopping: Cell::new(false),
            out_of_memory: OutOfMemoryKills::of_this_process(),
            on_body_line: Box::new(on_body_line),
        }));
        for index in 0..pool.0.executors.len() {
            tokio::task::spawn_local(process::keep_alive(Rc::clone(&pool.0), index));
        }
        pool
    }

    /// Dispatches the guardian's events; ends when the guardian does.
    pub async fn watch_guardian(&self) -> GuardianError {
        loop {
            match self.0.host.event().await {
                Ok(event) => self.dispatch(event),
                Err(error) => return error,
            }
        }
    }

    fn dispatch(&self, event: GuardianEvent) {
        let (GuardianEvent::Spawned { token, .. }
        | GuardianEvent::Refused { token, .. }
        | GuardianEvent::Looked { token, .. }
        | GuardianEvent::Exited { token, .. }) = event;
        if let Some(process) = self.0.by_token.borrow().get(&token) {
            let _ = process.send(event);
        }
    }

    /// Waits until the first executor has imported the module, or has failed to.
    pub async fn first_readiness(&self) -> Readiness {
        let mut receiver = self.0.readiness.subscribe();
        match receiver.wait_for(|state| !matches!(state, Readiness::Pending)).await {
            Ok(state) => state.clone(),
            Err(_) => Readiness::Pending,
        }
    }

    /// Reserves up to `wanted` slots of ready executors; waits until there is at least one.
    pub async fn reserve(&self, wanted: usize) -> Vec<SlotLease> {
        loop {
            let changed = self.0.changed.notified();
            let leases = self.try_reserve(wanted);
            if !leases.is_empty() {
                return leases;
            }
            changed.await;
        }
    }

    /// Reserves up to `wanted` slots that are free now.
    pub fn try_reserve(&self, wanted: usize) -> Vec<SlotLease> {
        let mut leases = Vec::new();
        for (index, executor) in self.0.executors.iter().enumerate() {
            if executor.live.borrow().as_ref().is_none_or(|live| live.closed) {
                continue;
            }
            while leases.len() < wanted {
                let Some(slot) = executor.free.borrow_mut().pop_first() else { break };
                leases.push(SlotLease { pool: Rc::clone(&self.0), index, slot });
            }
        }
        leases
    }

    /// Whether any executor could be given a task, now or once a slot of it is free.
    pub fn has_ready_executor(&self) -> bool {
        self.0
            .executors
            .iter()
            .any(|executor| executor.live.borrow().as_ref().is_some_and(|live| !live.closed))
    }

    /// Lets idle executors exit; those with a body exit after it. No executor is replaced from now on.
    pub fn stop(&self) {
        self.0.stopping.set(true);
        for executor in &self.0.executors {
            if let Some(live) = &*executor.live.borrow() {
                let _ = live.outbox.send(ToExecutor::Stop);
            }
        }
        self.0.changed.notify_waiters();
    }

    /// Kills every executor and everything in its process group.
    pub async fn kill_all(&self) {
        self.0.stopping.set(true);
        let tokens: Vec<u64> = self.0.by_token.borrow().keys().copied().collect();
        for token in tokens {
            self.0.host.kill(token, Signal::SIGKILL).await;
        }
    }

    /// Ends the guardian, and with it whatever is left of the executors.
    pub fn close(&self) {
        self.0.stopping.set(true);
        self.0.host.close();
    }

    /// Waits until no executor process is left.
    pub async fn stopped(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.by_token.borrow().is_empty() {
                return;
            }
            changed.await;
        }
    }
}

impl Inner {
    pub(super) fn body_line(&self, line: super::message::LogLine) {
        (self.on_body_line)(line);
    }
}

/// A slot reserved for one attempt; free again when dropped.
pub struct SlotLease {
    pub(super) pool: Rc<Inner>,
    pub(super) index: usize,
    slot: u32,
}

impl SlotLease {
    /// The slot's number, from 1.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Digits that stand for the code that the slot's executor has imported, if there is one and it has said so.
    pub fn code_hash(&self) -> Option<String> {
        self.executor().live.borrow().as_ref().and_then(|live| live.code_hash.clone())
    }

    /// Hands the attempt to the slot's executor. Waits while the executor is being replaced.
    ///
    /// # Errors
    /// [`AssignError::NotReady`] when that takes too long or the pool stops.
    pub async fn assign(
        &self,
        mut assignment: Assignment,
    ) -> Result<oneshot::Receiver<BodyEnd>, AssignError> {
        assignment.slot = self.slot;
        let deadline = tokio::time::Instant::now() + READY_AGAIN_WITHIN;
        loop {
            let changed = self.pool.changed.notified();
            if let Some(live) = self.executor().live.borrow_mut().as_mut().filter(|live| !live.closed) {
                let (sender, receiver) = oneshot::channel();
                if live.running.is_empty() {
                    live.last_lines.clear();
                }
                live.tasks += 1;
                self.executor().out_of_memory_before.set(self.pool.out_of_memory.count());
                let running = Running {
                    end: sender,
                    id: AttemptId::of(&assignment),
                    slot: self.slot,
                    refused: None,
                    is_read: false,
                    is_stopped: false,
                    ended: None,
                };
                live.running.insert(assignment.attempt, running);
                // A writer that has ended belongs to a process whose death is about to be seen.
                let _ = live.outbox.send(ToExecutor::Assign(Box::new(assignment)));
                self.pool.busy.notify_one();
                return Ok(receiver);
            }
            if self.pool.stopping.get() || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(AssignError::NotReady);
            }
        }
    }

    /// How long a body may run; `None` for ever, and where attempts share a process that cannot be stopped for one.
    pub fn time_limit(&self) -> Option<Duration> {
        self.pool.options.limits.time.filter(|_| self.pool.options.slots_per_process == 1)
    }

    /// Waits until the pool gives out no more work.
    pub async fn pool_stops(&self) {
        loop {
            let changed = self.pool.changed.notified();
            if self.pool.stopping.get() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn executor(&self) -> &Executor {
        &self.pool.executors[self.index]
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        self.executor().free.borrow_mut().insert(self.slot);
        self.pool.changed.notify_waiters();
    }
}
