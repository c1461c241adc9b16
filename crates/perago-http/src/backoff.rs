//! Exponential backoff with full jitter, as a pure function.

use std::time::Duration;

/// How long to wait before trying again.
///
/// The ceiling doubles with each attempt up to `maximum`; the delay is a uniformly random part of it ("full
/// jitter"), so that many workers which lost the same server do not return in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first delay.
    pub initial: Duration,
    /// Ceiling that later delays never exceed.
    pub maximum: Duration,
}

impl Backoff {
    /// The largest delay that `attempt` (0 for the first retry) can have.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt).unwrap_or(u32::MAX);
        self.initial.saturating_mul(factor).min(self.maximum)
    }

    /// The delay before retry number `attempt` (0 for the first), for a `random` number in `0.0..1.0`.
    ///
    /// Numbers outside that range, NaN included, are brought into it.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let share = if random.is_nan() { 1.0 } else { random.clamp(0.0, 1.0) };
        self.ceiling(attempt).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Backoff;

    const BACKOFF: Backoff =
        Backoff { initial: Duration::from_millis(250), maximum: Duration::from_secs(30) };

    #[test]
    fn ceilings_double_until_the_maximum() {
        let milliseconds: Vec<_> = (0..9).map(|attempt| BACKOFF.ceiling(attempt).as_millis()).collect();
        assert_eq!(milliseconds, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    }

    proptest! {
        #[test]
        fn a_delay_is_bounded_whatever_the_arguments(attempt: u32, random: f64) {
            prop_assert!(BACKOFF.delay(attempt, random) <= BACKOFF.maximum);
            prop_assert!(BACKOFF.delay(attempt, random) <= BACKOFF.ceiling(attempt));
        }

        #[test]
        fn a_delay_grows_with_the_random_number(attempt in 0u32..40, low in 0.0f64..0.5, high in 0.5f64..1.0) {
            prop_assert!(BACKOFF.delay(attempt, low) <= BACKOFF.delay(attempt, high));
        }
    }
}
