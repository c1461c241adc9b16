//! Stops bodies for the memory that they take: beyond the limit of an attempt, or when the container is nearly full.
//!
//! Such a body is killed with its executor at once. One that is told to stop would take more until it does, and memory
//! that a process has kept would count for its next body.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use perago_contract::failure::FailureCode;
use tokio::task::{spawn_blocking, spawn_local};

use super::message::Failure;
use super::pool::{Inner, Pool};
use crate::logs::{Level, Record};
use crate::memory::cgroup::{Fill, MemoryCgroup};
use crate::memory::evidence::{Evidence, Look, SlotUse};
use crate::memory::processes::{self, Executor};
use crate::memory::text;
use crate::settings::AttemptLimits;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The longer a look takes, the more seldom it is taken: at most a twentieth of one core goes into them.
const REST_FOR_EACH_LOOK: u32 = 20;

/// From here on a successor is told how full the container was.
const NOTED_FROM_PERCENT: u64 = 75;

impl Pool {
    /// Watches the memory of bodies for as long as the runtime lives, and notes in `evidence` what a successor may need.
    pub(crate) fn watch_memory(&self, evidence: Rc<Evidence>) {
        spawn_local(watch(Rc::clone(&self.0), evidence));
    }
}

async fn watch(pool: Rc<Inner>, evidence: Rc<Evidence>) {
    let Some(guardian) = pool.host.ancestor() else { return };
    let cgroup = MemoryCgroup::of_this_process();
    let mut took = Duration::ZERO;
    loop {
        while busy(&pool).is_empty() {
            pool.busy.notified().await;
        }
        tokio::time::sleep(LOOK_EVERY.max(took * REST_FOR_EACH_LOOK)).await;
        let executors = busy(&pool);
        let (group, limits) = (cgroup.clone(), pool.options.limits);
        // A slow system must not hold the supervisor's only thread.
        let seen = spawn_blocking(move || {
            let began = Instant::now();
            let seen = look(group.as_ref(), guardian, &executors, &limits);
            (seen, began.elapsed())
        });
        let Ok((seen, duration)) = seen.await else { return };
        took = duration;
        evidence.note(seen.kills, noted(&pool, &seen));
        stop_whom_it_takes(&pool, &seen).await;
    }
}

/// What one look has shown.
#[derive(Debug, Default)]
struct Seen {
    kills: u64,
    fill: Option<Fill>,
    /// Bytes by the executor's token.
    used: HashMap<u64, u64>,
}

fn look(
    cgroup: Option<&MemoryCgroup>,
    guardian: i32,
    executors: &[Executor],
    limits: &AttemptLimits,
) -> Seen {
    let Some(cgroup) = cgroup else {
        let used = limits.memory.map(|limit| processes::used_by(guardian, executors, limit));
        return Seen { used: used.unwrap_or_default(), ..Seen::default() };
    };
    let fill = cgroup.fill();
    let is_from = |percent: u64| fill.is_some_and(|fill| fill.percent() >= percent);
    // Whoever is to be stopped is found by exact figures.
    let roughly = if limits.container_memory_percent.is_some_and(|percent| is_from(percent.into())) {
        Some(0)
    } else {
        limits.memory.or_else(|| is_from(NOTED_FROM_PERCENT).then_some(u64::MAX))
    };
    let used = roughly.map(|roughly| processes::used_by(guardian, executors, roughly));
    Seen { kills: cgroup.kills(), fill, used: used.unwrap_or_default() }
}

/// The executors that run a body and are not about to end.
fn busy(pool: &Inner) -> Vec<Executor> {
    let process = |executor: &super::pool::Executor| {
        let live = executor.live.borrow();
        let live = live.as_ref().filter(|live| !live.closed && !live.running.is_empty())?;
        Some(Executor { token: live.token, pid: executor.pid.get() })
    };
    pool.executors.iter().filter_map(process).collect()
}

fn noted(pool: &Inner, seen: &Seen) -> Option<Look> {
    let fill = seen.fill.filter(|fill| fill.percent() >= NOTED_FROM_PERCENT)?;
    let mut slots = Vec::new();
    for executor in &pool.executors {
        let live = executor.live.borrow();
        let Some(live) = live.as_ref() else { continue };
        let Some(&bytes) = seen.used.get(&live.token) else { continue };
        slots.extend(live.running.values().map(|running| SlotUse {
            slot: running.slot,
            bytes,
            attempt: running.id.clone(),
        }));
    }
    slots.sort_by_key(|slot| slot.slot);
    Some(Look { fill, slots })
}

async fn stop_whom_it_takes(pool: &Inner, seen: &Seen) {
    // Where attempts share a process, one cannot be stopped without the others.
    if pool.options.slots_per_process > 1 {
        return;
    }
    let limits = &pool.options.limits;
    for (&token, &bytes) in &seen.used {
        if let Some(limit) = limits.memory.filter(|limit| bytes > *limit) {
            let reason = format!(
                "the executor and what it had started used {} of memory, more than \
                 PERAGO_ATTEMPT_MEMORY_LIMIT ({}), and were killed",
                text(bytes),
                text(limit)
            );
            stop(pool, token, FailureCode::AttemptMemoryLimit, reason, [bytes, limit]).await;
        }
    }
    let Some(fill) = seen.fill else { return };
    let is_full = |percent: u8| fill.percent() >= u64::from(percent);
    // What is being stopped already may be all that it takes.
    if !limits.container_memory_percent.is_some_and(is_full) || is_anybody_stopped(pool) {
        return;
    }
    if let Some((&token, &bytes)) = seen.used.iter().max_by_key(|(_, bytes)| **bytes) {
        let reason = format!(
            "memory was about to run out: the container used {} of {} ({} %); of its slots, number {} used most, {}, \
             and was killed (PERAGO_CONTAINER_MEMORY_THRESHOLD)",
            text(fill.used),
            text(fill.limit),
            fill.percent(),
            slot_of(pool, token),
            text(bytes)
        );
        stop(pool, token, FailureCode::ExecutorOutOfMemory, reason, [bytes, fill.limit]).await;
    }
}

/// The slot of an executor that has one.
fn slot_of(pool: &Inner, token: u64) -> u32 {
    let executors = pool.executors.iter();
    let mut tokens = executors.map(|executor| executor.live.borrow().as_ref().map(|live| live.token));
    tokens.position(|live| live == Some(token)).map_or(0, |index| index as u32 + 1)
}

fn is_anybody_stopped(pool: &Inner) -> bool {
    let is_stopped = |executor: &super::pool::Executor| {
        let live = executor.live.borrow();
        live.as_ref().is_some_and(|live| live.running.values().any(|running| running.refused.is_some()))
    };
    pool.executors.iter().any(is_stopped)
}

/// Kills an executor with everything that it has started, if the body still runs.
async fn stop(pool: &Inner, token: u64, code: FailureCode, reason: String, [used, limit]: [u64; 2]) {
    for executor in &pool.executors {
        {
            let mut live = executor.live.borrow_mut();
            let Some(live) = live.as_mut().filter(|live| live.token == token && !live.closed) else {
                continue;
            };
            let Some(running) = live.running.values_mut().next() else { continue };
            pool.logger.write(
                Record::new(Level::Warning, "attempt_stopped", reason.clone())
                    .with("workflow_instance_id", running.id.workflow_id.as_str())
                    .with("task_id", running.id.task_id.as_str())
                    .with("retry_count", running.id.retry_count)
                    .with("slot", running.slot)
                    .with("failure_code", code.code())
                    .with("used_bytes", used)
                    .with("limit_bytes", limit),
            );
            running.refused = Some(Failure { code: code.code().to_owned(), reason: reason.clone() });
            // A body that ends right now must not have a successor in this process.
            live.closed = true;
            executor.is_body_stopped.set(true);
        }
        pool.host.kill(token, Signal::SIGKILL).await;
    }
}
