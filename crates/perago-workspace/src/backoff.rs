//! Pauses between tries of one call.

use std::time::Duration;

use crate::store::StoreError;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// How often a call is tried in all, unless its repository says otherwise.
pub const MOST_TRIES: u32 = 5;

/// The pause before try number `again` (1 is the second try): random, and longer on average each time, so that many
/// workers do not come back together.
pub fn pause(again: u32) -> Duration {
    let ceiling = FIRST.saturating_mul(1 << again.min(10)).min(LONGEST);
    ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The tries of one call.
#[derive(Debug)]
pub struct Tries {
    most: u32,
    failed: u32,
}

impl Tries {
    /// So many tries in all.
    pub fn new(most: u32) -> Self {
        Self { most, failed: 0 }
    }

    /// Waits before the next try, or gives the failure back when there is to be none.
    ///
    /// # Errors
    /// The failure, if it is not transient or was the last one.
    pub async fn after(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.failed += 1;
        if !error.is_transient() || self.failed >= self.most {
            return Err(error);
        }
        tokio::time::sleep(pause(self.failed)).await;
        Ok(())
    }
}

/// Repeats a call of a repository that may be repeated whatever became of the try before, as often as the repository
/// says; its value is the call's last result.
///
/// A macro, because a closure that lends what it captures to its future cannot be shown to be `Send`.
macro_rules! repeated {
    ($repository:expr, $call:expr) => {{
        let mut tries = $crate::backoff::Tries::new($repository.tries());
        loop {
            match $call.await {
                Err(error) => {
                    if let Err(error) = tries.after(error).await {
                        break Err(error);
                    }
                }
                done => break done,
            }
        }
    }};
}

pub(crate) use repeated;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for again in 1..40 {
            let pause = pause(again);
            assert!(pause >= FIRST && pause <= LONGEST, "{pause:?}");
        }
    }

    struct Patience(u32);

    impl Patience {
        fn tries(&self) -> u32 {
            self.0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_transient_failures_are_repeated() {
        for (kind, most, wanted) in [
            (StoreErrorKind::Busy, MOST_TRIES, MOST_TRIES),
            (StoreErrorKind::Busy, 1, 1),
            (StoreErrorKind::Forbidden, MOST_TRIES, 1),
        ] {
            let mut calls = 0;
            let result: Result<(), StoreError> = repeated!(Patience(most), {
                calls += 1;
                std::future::ready(Err(StoreError::new(kind, "no")))
            });
            assert_eq!((result.unwrap_err().kind(), calls), (kind, wanted));
        }
    }
}
