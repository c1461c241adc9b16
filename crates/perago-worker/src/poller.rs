//! Capacity before work: slots are reserved, then tasks are asked for.

use std::rc::Rc;
use std::time::Duration;

use perago_conductor::{Backoff, Error, Task, TaskResult};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use crate::attempt::drive::{self, Context};
use crate::executor::pool::{Pool, SlotLease};
use crate::logs::{Level, Record};
use crate::operator::Pause;

const RETRY: Backoff = Backoff { initial: Duration::from_millis(500), maximum: Duration::from_secs(15) };

/// A long poll is shortened by up to this share at random, so that many workers do not poll in step.
const JITTER: f64 = 0.1;

/// How a worker polls.
#[derive(Debug, Clone)]
pub struct PollOptions {
    /// The queue.
    pub task_type: String,
    /// The queue's domain, if the worker serves one.
    pub domain: Option<String>,
    /// How long an idle worker's poll waits on the server, in milliseconds; the server allows 5,000.
    pub long_poll_milliseconds: u32,
    /// Slots of the worker.
    pub slots: u32,
}

/// What the poller must stop for.
#[derive(Debug, Clone)]
pub struct Stops {
    /// Take no more work.
    pub drain: watch::Receiver<bool>,
    /// Give up what runs.
    pub abandon: watch::Receiver<bool>,
    /// Take no work until it is lifted.
    pub pause: Pause,
}

/// Polls until told to drain. Returns the attempts that still run.
///
/// A poll in flight is never given up: a client that goes away has still consumed the task. What it brings after
/// the order to drain or to pause, or when there is no room for what an attempt may leave, is given back.
pub async fn run(
    context: Rc<Context>,
    pool: Pool,
    options: PollOptions,
    mut stops: Stops,
) -> Vec<JoinHandle<()>> {
    let mut attempts: Vec<JoinHandle<()>> = Vec::new();
    // There may be work: ask for as much as there are slots, without waiting. Otherwise wait for one task: a poll
    // for more than is there makes the server wait its whole time.
    let mut expects_work = true;
    let mut failures = 0;
    loop {
        let leases = tokio::select! {
            biased;
            _ = stops.drain.wait_for(|now| *now) => return attempts,
            leases = reserve(&context, &pool, &stops.pause, if expects_work { options.slots as usize } else { 1 }) => leases,
        };
        let wait = if expects_work { 0 } else { jittered(options.long_poll_milliseconds) };
        let sent_at = context.clock.now();
        let polled = context
            .client
            .poll_batch(
                &options.task_type,
                &context.worker_id,
                options.domain.as_deref(),
                leases.len() as u32,
                wait,
            )
            .await;
        match polled {
            Ok(tasks) => {
                if failures > 0 {
                    context.logger.event(Level::Info, "poll_recovered", "polling works again");
                }
                failures = 0;
                expects_work = !tasks.is_empty();
                attempts.retain(|attempt| !attempt.is_finished());
                // Space may have run out while the server was asked, or an order come to take no more.
                let may_take = !*stops.drain.borrow() && context.disk.has_space() && !stops.pause.look();
                for (task, lease) in pair(tasks, leases) {
                    match lease {
                        Some(lease) if may_take => {
                            let abandon = stops.abandon.clone();
                            attempts.push(spawn_local(drive::run(
                                Rc::clone(&context),
                                task,
                                sent_at,
                                lease,
                                abandon,
                            )));
                        }
                        _ => give_back(&context, &task).await,
                    }
                }
            }
            Err(error) => {
                drop(leases);
                context.instruments.poll_failed();
                report(&context, &error, failures);
                let delay = RETRY.delay(failures, 0.5 + fastrand::f64() / 2.0);
                failures = failures.saturating_add(1);
                tokio::select! {
                    _ = stops.drain.wait_for(|now| *now) => return attempts,
                    () = tokio::time::sleep(delay) => {}
                }
            }
        }
    }
}

/// Slots for tasks that may be taken: none while the worker is paused or what they leave behind finds no room.
async fn reserve(context: &Context, pool: &Pool, pause: &Pause, wanted: usize) -> Vec<SlotLease> {
    loop {
        context.disk.space().await;
        pause.lifted().await;
        let leases = pool.reserve(wanted).await;
        // A slot may have been long in coming.
        if context.disk.has_space() && !pause.look() {
            return leases;
        }
    }
}

/// Each task with a slot; none for what a server sends beyond what was asked for.
fn pair(tasks: Vec<Task>, leases: Vec<SlotLease>) -> impl Iterator<Item = (Task, Option<SlotLease>)> {
    let mut leases = leases.into_iter();
    tasks.into_iter().map(move |task| (task, leases.next()))
}

/// What the server does not take back now is given back by the next start of a worker on this state directory.
async fn give_back(context: &Context, task: &Task) {
    let entry = context.outbox.claimed(task);
    let released = context.client.update_task(&TaskResult::release(task, &context.worker_id)).await;
    if released.is_ok() {
        context.outbox.closed(entry);
    }
    context.logger.write(
        Record::new(Level::Info, "task_released", "task given back to the queue before it was started")
            .with("task_id", task.task_id.as_str())
            .with("workflow_instance_id", task.workflow_instance_id.as_str())
            .with("released", released.is_ok()),
    );
}

fn report(context: &Context, error: &Error, failures: u32) {
    // The first failure, then ever fewer: an outage of a day must not fill the disk.
    if failures == 0 || failures.is_power_of_two() {
        context.logger.write(
            Record::new(Level::Warning, "poll_failed", error.to_string())
                .with("failure_code", error.code())
                .with("consecutive_failures", failures + 1)
                .with_some("hint", error.hint()),
        );
    }
}

fn jittered(milliseconds: u32) -> u32 {
    (f64::from(milliseconds) * (1.0 - JITTER * fastrand::f64())) as u32
}
