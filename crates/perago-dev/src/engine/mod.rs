//! The engine: definitions, runs, queues. Synchronous and without a clock: every call gets the time.

mod error;
mod evaluation;
mod expression;
mod metadata;
mod model;
mod polling;
mod queue;
mod raw;
mod search;
mod task_definition;
mod timeouts;
mod updates;
mod view;
mod workflow_definition;
mod workflows;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

pub use error::{EngineError, Violation};
pub use metadata::BulkResult;
pub use model::{TaskStatus, WorkflowStatus};
pub use queue::{QueueName, queue_name};
pub use raw::Raw;
pub use task_definition::{RetryLogic, TaskDefinition, TimeoutPolicy};
pub use updates::{TaskUpdate, UpdateStatus, Updated};
pub use workflow_definition::{WorkflowDefinition, WorkflowTask};
pub use workflows::StartRequest;

use metadata::Definitions;
use model::{Plan, Task, Workflow};
use polling::PollRecord;
use queue::{Placement, Queues, Timer};

/// Inputs and outputs above this many bytes are kept by the server and shown by reference only.
pub const EXTERNAL_PAYLOAD_BYTES: usize = 3 * 1024 * 1024;
/// Outputs above this many bytes fail their task.
pub const MAXIMUM_PAYLOAD_BYTES: usize = 10 * 1024 * 1024;

/// Bounds of what the engine keeps about runs that are over. The oldest are forgotten first.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Greatest number of runs.
    pub workflows: usize,
    /// Greatest number of bytes of their inputs, outputs and logs.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { workflows: 10_000, bytes: 256 * 1024 * 1024 }
    }
}

/// State of the embedded Conductor.
pub struct Engine {
    retention: Retention,
    random: Random,
    definitions: Definitions,
    plans: HashMap<(String, i64), Arc<Plan>>,
    workflows: HashMap<Uuid, Workflow>,
    tasks: HashMap<Uuid, Task>,
    queues: Queues,
    running: BTreeSet<(i64, Uuid)>,
    finished: VecDeque<(Uuid, usize)>,
    finished_bytes: usize,
    in_progress: HashMap<Arc<str>, i64>,
    started: HashMap<Arc<str>, VecDeque<i64>>,
    polls: BTreeMap<(String, Option<String>), PollRecord>,
}

impl Engine {
    /// Returns an empty engine. `seed` feeds identifiers and retry jitter: equal seeds, equal histories.
    pub fn new(retention: Retention, seed: u64) -> Self {
        Self {
            retention,
            random: Random(seed),
            definitions: Definitions::default(),
            plans: HashMap::new(),
            workflows: HashMap::new(),
            tasks: HashMap::new(),
            queues: Queues::default(),
            running: BTreeSet::new(),
            finished: VecDeque::new(),
            finished_bytes: 0,
            in_progress: HashMap::new(),
            started: HashMap::new(),
            polls: BTreeMap::new(),
        }
    }

    /// Returns when [`Engine::advance`] is due, in epoch milliseconds.
    pub fn next_deadline(&self) -> Option<i64> {
        self.queues.next_timer()
    }

    /// Fires every timer that is due: delayed tasks become ready, timeouts are enforced.
    pub fn advance(&mut self, now: i64) {
        while let Some(timer) = self.queues.pop_timer(now) {
            match timer {
                Timer::Deliver(task) => self.deliver(task, now),
                Timer::Wake(queue) => self.queues.wake(&queue),
                Timer::Evaluate(workflow) => {
                    if let Some(run) = self.workflows.get_mut(&workflow) {
                        run.timer = None;
                    }
                    self.evaluate(workflow, now);
                }
            }
        }
    }

    /// Takes the names of the queues whose waiting pollers should look again.
    pub fn take_woken(&mut self) -> BTreeSet<QueueName> {
        self.queues.take_woken()
    }

    /// Returns how many runs and task attempts are held.
    pub fn held(&self) -> (usize, usize) {
        (self.workflows.len(), self.tasks.len())
    }

    fn deliver(&mut self, id: Uuid, now: i64) {
        let Some(task) = self.tasks.get(&id) else { return };
        let (queue, priority) = (self.queue_of(task), self.priority_of(task));
        self.queues.delivered(&queue);
        let placement = self.queues.add(&queue, priority, id, now, now);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.placement = placement;
        }
    }

    fn step_name(&self, task: &Task) -> Arc<str> {
        self.workflows[&task.workflow].plan.steps[task.step].name.clone()
    }

    fn queue_of(&self, task: &Task) -> QueueName {
        match &task.domain {
            None => self.step_name(task),
            domain => queue_name(&self.step_name(task), domain.as_deref()),
        }
    }

    fn priority_of(&self, task: &Task) -> u8 {
        self.workflows[&task.workflow].priority
    }

    /// Takes a task out of its queue and gives back the slot that it holds.
    fn withdraw(&mut self, id: Uuid) {
        let Some(task) = self.tasks.get(&id) else { return };
        if task.placement != Placement::Nowhere {
            let (queue, priority, placement) = (self.queue_of(task), self.priority_of(task), task.placement);
            self.queues.remove(&queue, priority, id, placement);
        }
        self.release_slot(id);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.placement = Placement::Nowhere;
        }
    }

    fn release_slot(&mut self, id: Uuid) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if !std::mem::take(&mut task.holds_slot) {
            return;
        }
        let task = &self.tasks[&id];
        let (name, queue) = (self.step_name(task), self.queue_of(task));
        if let Some(count) = self.in_progress.get_mut(&name) {
            *count -= 1;
            if *count <= 0 {
                self.in_progress.remove(&name);
            }
        }
        self.queues.wake(&queue);
    }

    /// Puts a scheduled task into its queue.
    fn enqueue(&mut self, id: Uuid, due: i64, now: i64) {
        let Some(task) = self.tasks.get(&id) else { return };
        let (queue, priority) = (self.queue_of(task), self.priority_of(task));
        let placement = self.queues.add(&queue, priority, id, due, now);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.placement = placement;
        }
    }

    /// Forgets the oldest finished runs beyond the bounds of retention.
    fn evict(&mut self) {
        while self.finished.len() > self.retention.workflows || self.finished_bytes > self.retention.bytes {
            let Some((id, weight)) = self.finished.pop_front() else { break };
            self.finished_bytes -= weight;
            // A run that was retried is live again, one that was removed is gone.
            if self.workflows.get(&id).is_some_and(|workflow| workflow.status.is_terminal()) {
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: Uuid) {
        let Some(workflow) = self.workflows.get(&id) else { return };
        let (attempts, timer) = (workflow.tasks.clone(), workflow.timer);
        for task in attempts {
            self.withdraw(task);
            self.tasks.remove(&task);
        }
        if let Some(due) = timer {
            self.queues.clear_timer(due, Timer::Evaluate(id));
        }
        if let Some(workflow) = self.workflows.remove(&id) {
            self.running.remove(&(workflow.create_time, id));
        }
    }
}

/// `SplitMix64`: enough for identifiers and jitter, and reproducible.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn identifier(&mut self) -> Uuid {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// A uniform number in `[0, bound]`.
    fn up_to(&mut self, bound: i64) -> i64 {
        (self.next() % (bound.max(0) as u64 + 1)) as i64
    }
}
