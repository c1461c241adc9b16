//! What all handlers share: the engine behind a lock that is never held over an await, and its waiters.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::access::{Access, ApiKey, StoreKey};
use crate::engine::{Engine, QueueName, queue_name};
use crate::faults::{FaultError, Faults};
use crate::storage::Storage;
use crate::telemetry::Telemetry;

/// Most that the engine's clock can be moved at once.
const LONGEST_STEP: Duration = Duration::from_secs(1000 * 86_400);

/// Cheap handle on everything a handler needs.
#[derive(Clone)]
pub(crate) struct Shared(Arc<State>);

struct State {
    engine: Mutex<Engine>,
    telemetry: Mutex<Telemetry>,
    storage: Storage,
    store_key: StoreKey,
    access: Option<Access>,
    waiters: Mutex<HashMap<QueueName, Arc<Notify>>>,
    timer: Notify,
    timer_due: AtomicI64,
    faults: Option<Faults>,
    clock: Clock,
    /// Milliseconds by which the engine's time is ahead of its clock.
    ahead: AtomicI64,
}

/// The engine's clock: epoch milliseconds.
pub(crate) type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        engine: Engine,
        telemetry: Telemetry,
        storage: Storage,
        key: Option<ApiKey>,
        faults: Option<Faults>,
    ) -> Self {
        Self::with_clock(engine, telemetry, storage, key, faults, Box::new(now))
    }

    pub(crate) fn with_clock(
        engine: Engine,
        telemetry: Telemetry,
        storage: Storage,
        key: Option<ApiKey>,
        faults: Option<Faults>,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(State {
            engine: Mutex::new(engine),
            telemetry: Mutex::new(telemetry),
            storage,
            store_key: key.as_ref().map(StoreKey::from).unwrap_or_default(),
            access: key.map(Access::new),
            waiters: Mutex::default(),
            timer: Notify::new(),
            timer_due: AtomicI64::new(i64::MAX),
            faults,
            clock,
            ahead: AtomicI64::new(0),
        }))
    }

    pub(crate) fn access(&self) -> Option<&Access> {
        self.0.access.as_ref()
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.0.storage
    }

    pub(crate) fn store_key(&self) -> &StoreKey {
        &self.0.store_key
    }

    pub(crate) fn telemetry(&self) -> MutexGuard<'_, Telemetry> {
        lock(&self.0.telemetry)
    }

    /// Reads the engine.
    pub(crate) fn read<T>(&self, reader: impl FnOnce(&Engine) -> T) -> T {
        reader(&lock(&self.0.engine))
    }

    /// Changes the engine, then wakes whoever the change concerns.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Engine, i64) -> T) -> T {
        let mut engine = lock(&self.0.engine);
        let result = change(&mut engine, self.engine_now());
        let (woken, due) = (engine.take_woken(), engine.next_deadline().unwrap_or(i64::MAX));
        drop(engine);
        if !woken.is_empty() {
            let waiters = lock(&self.0.waiters);
            for queue in woken {
                if let Some(waiter) = waiters.get(&queue) {
                    waiter.notify_waiters();
                }
            }
        }
        if due < self.0.timer_due.load(Ordering::Acquire) {
            self.0.timer.notify_one();
        }
        result
    }

    /// The script of faults.
    ///
    /// # Errors
    /// The services were started without.
    pub(crate) fn faults(&self) -> Result<&Faults, FaultError> {
        self.0.faults.as_ref().ok_or(FaultError::Off)
    }

    /// Lets time pass for the engine: what falls due on the way is done in its order, then everybody looks again.
    /// Returns by how many milliseconds its clock is ahead now.
    ///
    /// # Errors
    /// The services were started without faults, or it is more than [`LONGEST_STEP`].
    pub(crate) fn advance(&self, by: Duration) -> Result<i64, FaultError> {
        self.faults()?;
        if by > LONGEST_STEP {
            return Err(FaultError::Value { reason: "time passes by at most 1000 days at once" });
        }
        let step = by.as_millis() as i64;
        Ok(self.change(|engine, now| {
            while let Some(due) = engine.next_deadline().filter(|due| *due <= now + step) {
                engine.advance(due);
            }
            // Under the lock: nobody may change the engine at a time before the one just seen.
            self.0.ahead.fetch_add(step, Ordering::AcqRel) + step
        }))
    }

    /// Epoch milliseconds on the engine's clock.
    fn engine_now(&self) -> i64 {
        (self.0.clock)() + self.0.ahead.load(Ordering::Acquire)
    }

    /// Drives the engine's timers for ever.
    pub(crate) async fn run_timers(self) {
        loop {
            let due = self.read(Engine::next_deadline).unwrap_or(i64::MAX);
            self.0.timer_due.store(due, Ordering::Release);
            let left = due.saturating_sub(self.engine_now());
            if left <= 0 {
                self.change(Engine::advance);
                continue;
            }
            // A day is as good as for ever, and no overflow of the clock's arithmetic.
            let sleep = tokio::time::sleep(Duration::from_millis(left.min(86_400_000) as u64));
            tokio::select! {
                () = sleep => {}
                () = self.0.timer.notified() => {}
            }
        }
    }

    /// Polls: returns at once with a full batch, else waits for it up to `wait`, then claims what there is.
    pub(crate) async fn poll(
        &self,
        task_type: &str,
        domain: Option<&str>,
        worker: Option<&str>,
        count: usize,
        wait: Duration,
    ) -> Vec<Uuid> {
        let queue = queue_name(task_type, domain);
        let popped = self.change(|engine, now| {
            engine.note_poll(task_type, domain, worker, now);
            engine.pop(&queue, count, now)
        });
        if popped.len() >= count || wait.is_zero() {
            return self.change(|engine, now| engine.claim(&popped, worker, now));
        }
        let (shared, worker) = (self.clone(), worker.map(str::to_owned));
        // A task of its own: when the client goes away, the poll still takes what comes, as on the server.
        let waiting = tokio::spawn(async move {
            let popped = shared.wait_for(&queue, popped, count, wait).await;
            shared.change(|engine, now| engine.claim(&popped, worker.as_deref(), now))
        });
        waiting.await.unwrap_or_default()
    }

    async fn wait_for(
        &self,
        queue: &QueueName,
        mut popped: Vec<Uuid>,
        count: usize,
        wait: Duration,
    ) -> Vec<Uuid> {
        let deadline = Instant::now() + wait;
        let waiter = lock(&self.0.waiters).entry(queue.clone()).or_default().clone();
        while popped.len() < count {
            let mut notified = std::pin::pin!(waiter.notified());
            // Enabled before looking, so that a task arriving in between is not missed.
            notified.as_mut().enable();
            popped.extend(self.change(|engine, now| engine.pop(queue, count - popped.len(), now)));
            if popped.len() >= count || tokio::time::timeout_at(deadline, notified).await.is_err() {
                break;
            }
        }
        let mut waiters = lock(&self.0.waiters);
        // Two are the map's and ours: nobody else waits any more.
        if Arc::strong_count(&waiter) <= 2 {
            waiters.remove(queue);
        }
        popped
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No method leaves the state half-changed when it panics, so a poisoned lock is usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Epoch milliseconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
