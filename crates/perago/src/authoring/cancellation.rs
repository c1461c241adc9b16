//! How a body learns that it should end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::attempts;

/// Says when the attempt is no longer this worker's: its lease is lost, it was cancelled, or the worker must stop.
///
/// A body that goes on is killed with its executor after `PERAGO_CANCEL_GRACE`. Whatever it returns after that counts
/// for nothing. Cheap to clone; any thread may ask.
///
/// ```
/// # fn render(_: u32) {}
/// fn render_all(frames: std::ops::Range<u32>) -> Result<(), perago::TaskError> {
///     let cancellation = perago::cancellation();
///     for frame in frames {
///         cancellation.check()?;
///         render(frame);
///     }
///     Ok(())
/// }
/// # render_all(0..3).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_cancelled: AtomicBool,
    is_taken: AtomicBool,
    tasks: Notify,
    threads: (Mutex<()>, Condvar),
}

/// The attempt is no longer this worker's.
///
/// ```
/// # fn next_frame() -> Result<(), perago::Cancelled> { Err(perago::Cancelled) }
/// fn body() -> Result<(), perago::TaskError> {
///     // `?` ends the body; what it returns after its cancellation counts for nothing.
///     next_frame()?;
///     Ok(())
/// }
/// assert!(body().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task is no longer this worker's to run")]
pub struct Cancelled;

/// The cancellation of the attempt that runs here.
///
/// In the default mode, with one attempt a process, every thread and task of the process may ask. With threads, ask in
/// the body itself and hand the token on. Outside of an attempt, as in tests, it never fires.
///
/// An `async` body that has asked for it ends by itself; one that has not is dropped at its next `await`.
///
/// ```
/// let cancellation = perago::cancellation();
/// let helper = std::thread::spawn(move || cancellation.is_cancelled());
/// assert!(!helper.join().unwrap());
/// ```
pub fn cancellation() -> Cancellation {
    let cancellation = attempts::current().map(|running| running.cancellation).unwrap_or_default();
    cancellation.shared.is_taken.store(true, Ordering::Release);
    cancellation
}

impl Cancellation {
    /// Whether the body should end.
    pub fn is_cancelled(&self) -> bool {
        self.shared.is_cancelled.load(Ordering::Acquire)
    }

    /// An error once the body should end, for `?` between two steps.
    ///
    /// # Errors
    /// [`Cancelled`] from then on.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Waits until the body should end, which may be never.
    ///
    /// ```
    /// async fn listen(cancellation: perago::Cancellation) -> &'static str {
    ///     tokio::select! {
    ///         () = cancellation.cancelled() => "cancelled",
    ///         () = tokio::task::yield_now() => "heard",
    ///     }
    /// }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// assert_eq!(runtime.block_on(listen(perago::cancellation())), "heard");
    /// ```
    pub async fn cancelled(&self) {
        loop {
            let notified = self.shared.tasks.notified();
            tokio::pin!(notified);
            // From here on nothing is missed.
            notified.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            notified.await;
        }
    }

    /// Sleeps for `duration`, or until the body should end.
    ///
    /// ```
    /// let wait = std::time::Duration::from_millis(1);
    /// assert!(perago::cancellation().sleep(wait).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`Cancelled`] if the body should end.
    pub fn sleep(&self, duration: Duration) -> Result<(), Cancelled> {
        let (lock, changed) = &self.shared.threads;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, duration, |()| !self.is_cancelled());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.check()
    }

    /// Tells the body.
    pub(super) fn cancel(&self) {
        self.shared.is_cancelled.store(true, Ordering::Release);
        self.shared.tasks.notify_waiters();
        // Under the lock: a thread between its look and its sleep holds it.
        drop(self.shared.threads.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.threads.1.notify_all();
    }

    /// Waits until a body should end that has not asked for its token.
    pub(super) async fn drops_body(&self) {
        self.cancelled().await;
        if self.shared.is_taken.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_and_tasks_are_woken() {
        let cancellation = Cancellation::default();
        assert_eq!(cancellation.sleep(Duration::from_millis(1)), Ok(()));
        let (sleeper, listener) = (cancellation.clone(), cancellation.clone());
        let slept = thread::spawn(move || sleeper.sleep(Duration::from_secs(600)));
        let waited = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(listener.cancelled());
        });
        cancellation.cancel();
        assert_eq!(slept.join().unwrap(), Err(Cancelled));
        waited.join().unwrap();
        assert_eq!(cancellation.check(), Err(Cancelled));
    }

    #[test]
    fn outside_of_an_attempt_nothing_is_cancelled() {
        assert_eq!(cancellation().check(), Ok(()));
    }
}
