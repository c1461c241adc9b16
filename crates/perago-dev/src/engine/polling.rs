//! Polls: which task a worker gets, and the claim.

use std::collections::VecDeque;

use serde::Serialize;
use uuid::Uuid;

use super::Engine;
use super::model::{Step, TaskStatus};
use super::queue::{Placement, QueueName, Timer, queue_name};

/// When a queue was last polled, and by whom.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PollRecord {
    /// Task type.
    pub queue_name: String,
    /// Domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// Epoch milliseconds.
    pub last_poll_time: i64,
}

/// Pollers of invented task types must not fill the memory.
const MAXIMUM_POLL_RECORDS: usize = 10_000;

impl Engine {
    /// Notes a poll for `GET /tasks/queue/polldata`.
    pub fn note_poll(&mut self, task_type: &str, domain: Option<&str>, worker_id: Option<&str>, now: i64) {
        let key = (task_type.to_owned(), domain.map(str::to_owned));
        if self.polls.len() >= MAXIMUM_POLL_RECORDS && !self.polls.contains_key(&key) {
            self.polls.pop_first();
        }
        let record = PollRecord {
            queue_name: key.0.clone(),
            domain: key.1.clone(),
            worker_id: worker_id.map(str::to_owned),
            last_poll_time: now,
        };
        self.polls.insert(key, record);
    }

    /// Returns the records of polls, of one task type or of all.
    pub fn poll_records(&self, task_type: Option<&str>) -> Vec<&PollRecord> {
        self.polls.values().filter(|record| task_type.is_none_or(|name| name == record.queue_name)).collect()
    }

    /// Takes up to `count` tasks out of a queue, by priority, without claiming them yet.
    pub fn pop(&mut self, queue: &QueueName, count: usize, now: i64) -> Vec<Uuid> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let Some(id) = self.queues.first(queue) else { break };
            let task = &self.tasks[&id];
            let workflow = &self.workflows[&task.workflow];
            let (plan, priority, placement) = (workflow.plan.clone(), workflow.priority, task.placement);
            if !self.has_room(&plan.steps[self.tasks[&id].step], queue, now) {
                break;
            }
            self.queues.remove(queue, priority, id, placement);
            let step = &plan.steps[self.tasks[&id].step];
            *self.in_progress.entry(step.name.clone()).or_default() += 1;
            if step.definition.rate_limit_per_frequency > 0 {
                self.started.entry(step.name.clone()).or_default().push_back(now);
            }
            if let Some(task) = self.tasks.get_mut(&id) {
                task.placement = Placement::Nowhere;
                task.holds_slot = true;
            }
            taken.push(id);
        }
        taken
    }

    /// Whether the limits of concurrent attempts and of starts per window let another one begin.
    fn has_room(&mut self, step: &Step, queue: &QueueName, now: i64) -> bool {
        let definition = &step.definition;
        let limit = definition.concurrent_exec_limit.unwrap_or(0);
        if limit > 0 && self.in_progress.get(&step.name).copied().unwrap_or(0) >= limit {
            return false;
        }
        if definition.rate_limit_per_frequency <= 0 {
            return true;
        }
        let window = definition.rate_limit_frequency_in_seconds.max(1) * 1000;
        let started: &mut VecDeque<i64> = self.started.entry(step.name.clone()).or_default();
        while started.front().is_some_and(|start| start + window <= now) {
            started.pop_front();
        }
        let room = (started.len() as i64) < definition.rate_limit_per_frequency;
        if let (false, Some(oldest)) = (room, started.front()) {
            self.queues.set_timer(oldest + window, Timer::Wake(queue.clone()));
        }
        room
    }

    /// Claims popped tasks for a worker; those that changed in the meantime are left out.
    pub fn claim(&mut self, popped: &[Uuid], worker_id: Option<&str>, now: i64) -> Vec<Uuid> {
        let mut claimed = Vec::with_capacity(popped.len());
        for id in popped {
            let Some(task) = self.tasks.get_mut(id) else { continue };
            if task.status != TaskStatus::Scheduled || task.placement != Placement::Nowhere {
                continue;
            }
            task.status = TaskStatus::InProgress;
            task.worker_id = worker_id.map(str::to_owned);
            task.poll_count += 1;
            task.callback_after_seconds = 0;
            task.update_time = now;
            if task.start_time == 0 {
                task.start_time = now;
            }
            let workflow = task.workflow;
            self.arm(workflow);
            claimed.push(*id);
        }
        claimed
    }

    /// Pops and claims at once.
    pub fn poll(
        &mut self,
        task_type: &str,
        domain: Option<&str>,
        worker_id: Option<&str>,
        count: usize,
        now: i64,
    ) -> Vec<Uuid> {
        self.note_poll(task_type, domain, worker_id, now);
        let popped = self.pop(&queue_name(task_type, domain), count, now);
        self.claim(&popped, worker_id, now)
    }

    /// Returns how many tasks of a type wait.
    pub fn queue_size(&self, task_type: &str, domain: Option<&str>) -> usize {
        self.queues.size(&queue_name(task_type, domain))
    }

    /// Returns every queue with its size.
    pub fn queue_sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.queues.sizes()
    }
}
