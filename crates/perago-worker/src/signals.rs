//! The signals that stop a worker: the first asks it to drain, the second to stop now.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;

/// Signals this close together are one order: `timeout` and some supervisors send it to a process and then to its
/// group.
const ONE_ORDER_WITHIN: Duration = Duration::from_millis(30);

/// Counts SIGTERM and SIGINT. Needs a `LocalSet`.
#[derive(Debug)]
pub struct Signals {
    seen: watch::Receiver<u32>,
    _listener: Option<Listener>,
}

#[derive(Debug)]
struct Listener(AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Signals {
    /// Takes over both signals.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (count, seen) = watch::channel(0);
        let listener = spawn_local(async move {
            let mut last: Option<Instant> = None;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if last.is_none_or(|last| last.elapsed() > ONE_ORDER_WITHIN) {
                    count.send_modify(|seen| *seen += 1);
                }
                last = Some(Instant::now());
            }
        });
        Ok(Self { seen, _listener: Some(Listener(listener.abort_handle())) })
    }

    /// Orders that do not come from the system: their number so far.
    #[cfg(test)]
    pub fn counted(seen: watch::Receiver<u32>) -> Self {
        Self { seen, _listener: None }
    }

    /// Waits for the first signal; returns at once after it.
    pub async fn stop_requested(&self) {
        self.at_least(1).await;
    }

    /// Waits for the second signal.
    pub async fn stop_now_requested(&self) {
        self.at_least(2).await;
    }

    async fn at_least(&self, wanted: u32) {
        let mut seen = self.seen.clone();
        let _ = seen.wait_for(|count| *count >= wanted).await;
    }
}
