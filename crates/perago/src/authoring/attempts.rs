//! The attempts that run in this process: whom a cancellation is for, and whose a line of the log is.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Cancellation;

/// An attempt whose body runs.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// The supervisor's number of it.
    pub(super) attempt: u64,
    /// Tells its body to end.
    pub(super) cancellation: Cancellation,
}

static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// An attempt runs on this thread for as long as this lives.
#[derive(Debug)]
pub(super) struct Ran(u64);

/// Notes an attempt before the next message is read, so that no cancellation finds it missing.
pub(super) fn expect(attempt: u64) -> Running {
    let running = Running { attempt, cancellation: Cancellation::default() };
    all().push(running.clone());
    running
}

/// Begins an expected attempt on this thread.
pub(super) fn begin(running: Running) -> Ran {
    let attempt = running.attempt;
    OWN.set(Some(running));
    Ran(attempt)
}

impl Drop for Ran {
    fn drop(&mut self) {
        OWN.set(None);
        all().retain(|running| running.attempt != self.0);
    }
}

/// Tells the body of an attempt to end, if it runs.
pub(super) fn cancel(attempt: u64) {
    let found = all().iter().find(|running| running.attempt == attempt).cloned();
    if let Some(running) = found {
        running.cancellation.cancel();
    }
}

/// The attempt of this thread, else the only one of the process.
pub(super) fn current() -> Option<Running> {
    let own = OWN.try_with(|own| own.try_borrow().ok().and_then(|own| own.clone())).ok().flatten();
    own.or_else(|| match all().as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    })
}

fn all() -> MutexGuard<'static, Vec<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
