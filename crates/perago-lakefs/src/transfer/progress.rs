//! Watching a request body leave.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::ErrorKind;

/// What a body tells about itself while it is sent.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<State>);

#[derive(Debug)]
struct State {
    started: Instant,
    /// Milliseconds from the start to the last block that left.
    last: AtomicU64,
    is_sent: AtomicBool,
    source_error: Mutex<Option<String>>,
    digest: Mutex<Option<[u8; 16]>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            started: Instant::now(),
            last: AtomicU64::new(0),
            is_sent: AtomicBool::new(false),
            source_error: Mutex::default(),
            digest: Mutex::default(),
        }))
    }

    /// A block has left.
    pub(super) fn moved(&self) {
        self.0.last.store(self.0.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// The last block has left; `digest` is the MD5 of all.
    pub(super) fn sent(&self, digest: [u8; 16]) {
        self.moved();
        *self.0.digest.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        self.0.is_sent.store(true, Ordering::Release);
    }

    /// What should be sent cannot be read.
    pub(super) fn source_failed(&self, reason: String) {
        *self.0.source_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Why the source could not be read, if it could not.
    pub(super) fn source_error(&self) -> Option<String> {
        self.0.source_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The MD5 of everything, once it has left.
    pub(super) fn digest(&self) -> Option<[u8; 16]> {
        *self.0.digest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Awaits `exchange`; fails when no block left for `stall`, or no answer came within `answer` after the last.
    pub(super) async fn watch<T>(
        &self,
        exchange: impl Future<Output = T>,
        stall: Duration,
        answer: Duration,
    ) -> Result<T, ErrorKind> {
        let mut exchange = std::pin::pin!(exchange);
        loop {
            let is_sent = self.0.is_sent.load(Ordering::Acquire);
            let limit = if is_sent { answer } else { stall };
            let last = Duration::from_millis(self.0.last.load(Ordering::Relaxed));
            let deadline = self.0.started + last + limit;
            if deadline <= Instant::now() {
                return Err(if is_sent { ErrorKind::Timeout(limit) } else { ErrorKind::Stalled(limit) });
            }
            tokio::select! {
                biased;
                result = &mut exchange => return Ok(result),
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Progress;
    use crate::error::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn standing_still_and_silence_are_told_apart() {
        let (stall, answer) = (Duration::from_secs(3), Duration::from_secs(10));
        let progress = Progress::new();
        let motionless = progress.watch(std::future::pending::<()>(), stall, answer).await;
        assert!(matches!(motionless, Err(ErrorKind::Stalled(_))));

        let progress = Progress::new();
        let moving = progress.clone();
        let slow = async move {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                moving.moved();
            }
            moving.sent([0; 16]);
            std::future::pending::<()>().await;
        };
        let silent = progress.watch(slow, stall, answer).await;
        assert!(matches!(silent, Err(ErrorKind::Timeout(_))));
        assert_eq!(progress.0.started.elapsed(), Duration::from_secs(20));
    }
}
