//! Pauses between tries of one call.

use std::future::Future;
use std::time::Duration;

use crate::store::StoreError;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// How often a call is tried in all.
pub const MOST_TRIES: u32 = 5;

/// The pause before try number `again` (1 is the second try): random, and longer on average each time, so that many
/// workers do not come back together.
pub fn pause(again: u32) -> Duration {
    let ceiling = FIRST.saturating_mul(1 << again.min(10)).min(LONGEST);
    ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Repeats a call that may be repeated whatever became of the try before.
///
/// # Errors
/// The last transient failure, or the first other one.
pub async fn repeated<T, F>(mut call: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut again = 0;
    loop {
        match call().await {
            Err(error) if error.is_transient() && again + 1 < MOST_TRIES => {
                again += 1;
                tokio::time::sleep(pause(again)).await;
            }
            result => return result,
        }
    }
}

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

    #[tokio::test(start_paused = true)]
    async fn only_transient_failures_are_repeated() {
        for (kind, wanted) in [(StoreErrorKind::Busy, MOST_TRIES), (StoreErrorKind::Forbidden, 1)] {
            let mut calls = 0;
            let result: Result<(), StoreError> = repeated(|| {
                calls += 1;
                async move { Err(StoreError::new(kind, "no")) }
            })
            .await;
            assert_eq!((result.unwrap_err().kind(), calls), (kind, wanted));
        }
    }
}
