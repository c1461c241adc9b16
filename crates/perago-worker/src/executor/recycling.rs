//! How an executor that has run as many bodies as it may makes room for a new one.

use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::spawn_local;

use super::message::ToExecutor;
use super::pool::Inner;

/// A process that has no body any more gets this long to end by itself: threads of the author may hold it for ever.
const ENDS_WITHIN: Duration = Duration::from_secs(3);

/// Ends the process at `index` after the body that has just ended, if that was the last that it may run.
pub(super) fn end_if_used_up(pool: &Rc<Inner>, index: usize) {
    let executor = &pool.executors[index];
    let mut live = executor.live.borrow_mut();
    let (Some(live), Some(most)) = (live.as_mut(), pool.options.most_tasks) else { return };
    // Of a body that was stopped, something may still have to be killed.
    let is_settled = live.running.values().all(|running| running.ended.is_none());
    if live.tasks < most || live.closed || pool.stopping.get() || !is_settled {
        return;
    }
    live.closed = true;
    executor.is_recycled.set(true);
    let _ = live.outbox.send(ToExecutor::Stop);
    let (pool, token) = (Rc::clone(pool), live.token);
    spawn_local(async move {
        // In thread mode other bodies may run.
        while is_live(&pool, index, token) && has_body(&pool, index) {
            pool.changed.notified().await;
        }
        tokio::time::sleep(ENDS_WITHIN).await;
        if is_live(&pool, index, token) {
            pool.host.kill(token, Signal::SIGKILL).await;
        }
    });
}

fn is_live(pool: &Inner, index: usize, token: u64) -> bool {
    pool.executors[index].live.borrow().as_ref().is_some_and(|live| live.token == token)
}

fn has_body(pool: &Inner, index: usize) -> bool {
    pool.executors[index].live.borrow().as_ref().is_some_and(|live| !live.running.is_empty())
}
