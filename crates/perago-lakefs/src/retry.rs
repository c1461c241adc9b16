//! When a failed call is repeated.

use std::time::Duration;

use perago_http::Backoff;

use crate::error::Error;

/// How failed calls are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOptions {
    /// Repetitions after the first try.
    pub attempts: u32,
    /// Pauses between them.
    pub backoff: Backoff,
}

impl Default for RetryOptions {
    /// Eight repetitions, together 16 s on average: longer than the server's own retries under contention.
    fn default() -> Self {
        let backoff = Backoff { initial: Duration::from_millis(200), maximum: Duration::from_secs(10) };
        Self { attempts: 8, backoff }
    }
}

/// What repeating a call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Harmless, whatever became of the first try.
    Always,
    /// Only where the first try certainly had no effect.
    WhenRefused,
}

impl RetryOptions {
    /// The pause before repetition number `done` (0 for the first), if there is to be one.
    pub(crate) fn pause(&self, done: u32, error: &Error, repeat: Repeat) -> Option<Duration> {
        let wanted = error.is_retryable() && (repeat == Repeat::Always || !error.may_have_been_received());
        (wanted && done < self.attempts).then(|| self.backoff.delay(done, fastrand::f64()))
    }
}

/// The tries of one call.
#[derive(Debug)]
pub(crate) struct Tries {
    options: RetryOptions,
    repeat: Repeat,
    done: u32,
}

impl Tries {
    pub(crate) fn new(options: RetryOptions, repeat: Repeat) -> Self {
        Self { options, repeat, done: 0 }
    }

    /// Waits before the next try, or gives the error back when there is to be none.
    pub(crate) async fn after(&mut self, error: Error) -> Result<(), Error> {
        let Some(pause) = self.options.pause(self.done, &error, self.repeat) else { return Err(error) };
        self.done += 1;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Repeat, RetryOptions};
    use crate::error::{Error, ErrorKind};

    fn error(kind: ErrorKind) -> Error {
        Error::new("merge", "http://host".to_owned(), kind)
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_where_that_is_harmless() {
        let options = RetryOptions::default();
        let lost = error(ErrorKind::Interrupted("reset".to_owned()));
        assert!(options.pause(0, &lost, Repeat::Always).is_some());
        assert!(options.pause(0, &lost, Repeat::WhenRefused).is_none());
        let contended = error(ErrorKind::Status { status: 429, message: String::new(), from_lakefs: true });
        assert!(options.pause(0, &contended, Repeat::WhenRefused).is_some());
        assert!(options.pause(options.attempts, &contended, Repeat::Always).is_none());
        let refused = error(ErrorKind::Status { status: 403, message: String::new(), from_lakefs: true });
        assert!(options.pause(0, &refused, Repeat::Always).is_none());
    }
}
