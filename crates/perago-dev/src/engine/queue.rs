//! Queues of scheduled attempts, and the timers that move them and wake the engine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

/// Name of a queue: the task type, with the domain and a colon before it where there is one.
pub type QueueName = Arc<str>;

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// In no queue.
    Nowhere,
    /// Ready to be polled.
    Ready {
        /// Order of arrival.
        order: u64,
    },
    /// Ready at a later time (epoch milliseconds).
    Delayed {
        /// That time.
        due: i64,
    },
}

/// What a timer does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Puts a delayed task into its queue.
    Deliver(Uuid),
    /// Evaluates a run.
    Evaluate(Uuid),
    /// Wakes the pollers of a queue whose rate limit has room again.
    Wake(QueueName),
}

#[derive(Debug, Default)]
struct Queue {
    ready: BTreeSet<(Reverse<u8>, u64, Uuid)>,
    delayed: usize,
}

/// All queues and timers.
#[derive(Debug, Default)]
pub(super) struct Queues {
    by_name: BTreeMap<QueueName, Queue>,
    timers: BTreeSet<(i64, Timer)>,
    arrivals: u64,
    woken: BTreeSet<QueueName>,
}

/// Returns the name of the queue of a task type in a domain; an empty domain is a domain, as on the server.
pub fn queue_name(task_type: &str, domain: Option<&str>) -> QueueName {
    match domain {
        Some(domain) => format!("{domain}:{task_type}").into(),
        None => task_type.into(),
    }
}

impl Queues {
    /// Adds a task that may be polled from `due` on.
    pub(super) fn add(
        &mut self,
        queue: &QueueName,
        priority: u8,
        task: Uuid,
        due: i64,
        now: i64,
    ) -> Placement {
        let entry = self.by_name.entry(queue.clone()).or_default();
        if due > now {
            entry.delayed += 1;
            self.timers.insert((due, Timer::Deliver(task)));
            return Placement::Delayed { due };
        }
        self.arrivals += 1;
        entry.ready.insert((Reverse(priority), self.arrivals, task));
        self.woken.insert(queue.clone());
        Placement::Ready { order: self.arrivals }
    }

    /// Takes a task out, wherever it is.
    pub(super) fn remove(&mut self, queue: &QueueName, priority: u8, task: Uuid, placement: Placement) {
        let Some(entry) = self.by_name.get_mut(queue) else { return };
        match placement {
            Placement::Nowhere => {}
            Placement::Ready { order } => {
                entry.ready.remove(&(Reverse(priority), order, task));
            }
            Placement::Delayed { due } => {
                entry.delayed = entry.delayed.saturating_sub(1);
                self.timers.remove(&(due, Timer::Deliver(task)));
            }
        }
    }

    /// Notes that the timer of a delayed task has fired.
    pub(super) fn delivered(&mut self, queue: &QueueName) {
        if let Some(entry) = self.by_name.get_mut(queue) {
            entry.delayed = entry.delayed.saturating_sub(1);
        }
    }

    /// Returns the first task that may be polled, without taking it.
    pub(super) fn first(&self, queue: &str) -> Option<Uuid> {
        self.by_name.get(queue)?.ready.first().map(|(_, _, task)| *task)
    }

    /// Returns how many tasks wait, delayed ones included.
    pub(super) fn size(&self, queue: &str) -> usize {
        self.by_name.get(queue).map_or(0, |queue| queue.ready.len() + queue.delayed)
    }

    /// Returns every known queue with its size.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.by_name.iter().map(|(name, queue)| (&**name, queue.ready.len() + queue.delayed))
    }

    /// Sets a timer.
    pub(super) fn set_timer(&mut self, due: i64, timer: Timer) {
        self.timers.insert((due, timer));
    }

    /// Clears a timer.
    pub(super) fn clear_timer(&mut self, due: i64, timer: Timer) {
        self.timers.remove(&(due, timer));
    }

    /// Returns when the next timer fires.
    pub(super) fn next_timer(&self) -> Option<i64> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Takes the next timer that is due.
    pub(super) fn pop_timer(&mut self, now: i64) -> Option<Timer> {
        if self.next_timer()? > now {
            return None;
        }
        self.timers.pop_first().map(|(_, timer)| timer)
    }

    /// Notes that the pollers of a queue should look again.
    pub(super) fn wake(&mut self, queue: &QueueName) {
        self.woken.insert(queue.clone());
    }

    /// Takes the queues whose pollers should look again.
    pub(super) fn take_woken(&mut self) -> BTreeSet<QueueName> {
        std::mem::take(&mut self.woken)
    }
}
