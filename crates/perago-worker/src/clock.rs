//! The worker's clock: moments since its start, as the pure state machines take them.

use std::time::Duration;

use tokio::time::Instant;

use crate::attempt::lease::Moment;

/// A monotonic clock. Copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The current moment.
    pub fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// Waits until `due`; for ever when there is nothing due.
    pub async fn sleep_until(&self, due: Option<Moment>) {
        match due {
            // One millisecond more: tokio's timer has that granularity and may wake just before the moment.
            Some(due) => tokio::time::sleep_until(self.start + due + Duration::from_millis(1)).await,
            None => std::future::pending().await,
        }
    }
}
