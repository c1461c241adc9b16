//! How one body is stopped while its executor lives on, if it can.
//!
//! The body is told, by a message and a signal that says that there is one; it has a grace to end. A body that has ended
//! leaves its executor to the next one, unless something that it started still lives. Whoever does not end gets SIGTERM
//! with its whole process group, and then everything that the executor has started is killed, in whichever session.

use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::spawn_local;

use super::message::{Ended, ToExecutor};
use super::pool::{BodyEnd, Inner, SlotLease};

/// From SIGTERM to SIGKILL.
const TERMINATES_WITHIN: Duration = Duration::from_secs(1);

impl SlotLease {
    /// Whether a body can be stopped for certain: not in thread mode, where other attempts share the process.
    pub fn can_stop_body(&self) -> bool {
        self.pool.options.slots_per_process == 1
    }

    /// Begins to stop the body of `attempt`, if it runs; returns at once. It is killed when it has not ended after
    /// `grace`. One that cannot be stopped is told and left alone: whether it hears is up to its language.
    pub fn stop_body(&self, attempt: u64, grace: Duration) {
        if !self.can_stop_body() {
            self.tell_body(attempt);
            return;
        }
        let token = {
            let mut live = self.executor().live.borrow_mut();
            let Some(live) = live.as_mut() else { return };
            let Some(running) = live.running.get_mut(&attempt) else { return };
            if std::mem::replace(&mut running.is_stopped, true) {
                return;
            }
            let _ = live.outbox.send(ToExecutor::Cancel(attempt));
            live.token
        };
        let (pool, index) = (Rc::clone(&self.pool), self.index);
        spawn_local(async move {
            if !ends_within(&pool, index, attempt, grace).await {
                terminate(&pool, index, token, attempt).await;
            }
        });
    }

    fn tell_body(&self, attempt: u64) {
        let live = self.executor().live.borrow();
        if let Some(live) = live.as_ref().filter(|live| live.running.contains_key(&attempt)) {
            let _ = live.outbox.send(ToExecutor::Cancel(attempt));
        }
    }

    /// Waits until the body of `attempt` has ended, for at most `limit`; whether it has.
    pub async fn body_ends_within(&self, attempt: u64, limit: Duration) -> bool {
        ends_within(&self.pool, self.index, attempt, limit).await
    }

    /// Kills the body of `attempt` with its executor and everything that it has started, if it can be stopped.
    pub async fn kill_body(&self, attempt: u64) {
        let token = self.executor().live.borrow().as_ref().map(|live| live.token);
        if let Some(token) = token
            && self.can_stop_body()
            && is_running(&self.pool, self.index, attempt)
        {
            self.executor().is_body_stopped.set(true);
            self.pool.host.kill(token, Signal::SIGKILL).await;
        }
    }
}

/// The executor says that a body has ended.
pub(super) fn on_ended(pool: &Rc<Inner>, index: usize, token: u64, ended: Box<Ended>) {
    let mut live = pool.executors[index].live.borrow_mut();
    let Some(live) = live.as_mut() else { return };
    match live.running.get_mut(&ended.attempt) {
        Some(running) if running.is_stopped => {
            running.ended = Some(ended);
            let pool = Rc::clone(pool);
            spawn_local(async move {
                pool.host.look(token).await;
            });
        }
        Some(_) => {
            if let Some(running) = live.running.remove(&ended.attempt) {
                let _ = running.end.send(BodyEnd::Ended(ended));
            }
        }
        None => {}
    }
}

/// The guardian says whether something lives that the executor has started, which a stopped body may have left.
pub(super) fn on_looked(pool: &Rc<Inner>, index: usize, token: u64, has_started: bool) {
    let mut live = pool.executors[index].live.borrow_mut();
    let Some(live) = live.as_mut() else { return };
    let ended = live.running.iter().find(|(_, running)| running.ended.is_some()).map(|(attempt, _)| *attempt);
    let Some(attempt) = ended else { return };
    if has_started {
        let pool = Rc::clone(pool);
        spawn_local(async move { terminate(&pool, index, token, attempt).await });
        return;
    }
    if let Some(running) = live.running.remove(&attempt)
        && let Some(ended) = running.ended
    {
        let _ = running.end.send(BodyEnd::Ended(ended));
    }
    pool.executors[index].is_body_stopped.set(false);
    pool.changed.notify_waiters();
}

async fn terminate(pool: &Rc<Inner>, index: usize, token: u64, attempt: u64) {
    if pool.executors[index].is_body_stopped.replace(true) {
        return;
    }
    pool.host.kill(token, Signal::SIGTERM).await;
    if !ends_within(pool, index, attempt, TERMINATES_WITHIN).await {
        pool.host.kill(token, Signal::SIGKILL).await;
    }
}

async fn ends_within(pool: &Inner, index: usize, attempt: u64, limit: Duration) -> bool {
    let ended = async {
        loop {
            let changed = pool.changed.notified();
            if !is_running(pool, index, attempt) {
                return;
            }
            changed.await;
        }
    };
    tokio::time::timeout(limit, ended).await.is_ok()
}

fn is_running(pool: &Inner, index: usize, attempt: u64) -> bool {
    let live = pool.executors[index].live.borrow();
    live.as_ref().is_some_and(|live| live.running.contains_key(&attempt))
}
