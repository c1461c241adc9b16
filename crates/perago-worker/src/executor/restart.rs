//! How long a dead executor's slot waits before its replacement is started.

use std::time::Duration;

/// An executor that was ready for this long has proven itself: the next crash counts as the first again.
pub const PROVEN_AFTER: Duration = Duration::from_secs(60);

/// The delay before restart number `consecutive` (from 0): none at first, then 1, 2, 4 seconds and so on, never more
/// than `longest`.
pub fn delay(consecutive: u32, longest: Duration) -> Duration {
    match consecutive {
        0 => Duration::ZERO,
        n => Duration::from_secs(1_u64 << (n - 1).min(32)).min(longest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_stays_there() {
        let longest = Duration::from_secs(30);
        let seconds: Vec<u64> = (0..9).map(|n| delay(n, longest).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(delay(u32::MAX, longest), longest);
        assert_eq!(delay(1, Duration::from_millis(5)), Duration::from_millis(5));
    }
}
