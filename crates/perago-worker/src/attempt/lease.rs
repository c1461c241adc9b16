//! When a lease must be extended, and when it has lapsed.
//!
//! The server counts the response timeout from its own last update of the task, which lies after the moment at
//! which we sent the poll or the beat: counting from the sending is always on the safe side.

use std::time::Duration;

/// A moment: time since an epoch of the caller's choice, so that tests can invent it.
pub type Moment = Duration;

/// How often at most a running task's status is read.
pub const LONGEST_STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The lease of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    extended_at: Moment,
    timeout: Duration,
}

impl Lease {
    /// A lease that began when the poll was sent.
    ///
    /// `timeout` is the task's response timeout; the server never has one below a second.
    pub fn new(poll_sent_at: Moment, timeout: Duration) -> Self {
        Self { extended_at: poll_sent_at, timeout: timeout.max(Duration::from_secs(1)) }
    }

    /// The interval between beats: a third of the response timeout.
    pub fn beat_interval(&self) -> Duration {
        self.timeout / 3
    }

    /// When the next beat is due. It lies in the past when less than two thirds are left.
    pub fn next_beat(&self) -> Moment {
        self.extended_at + self.beat_interval()
    }

    /// When the server may give the task to another worker.
    pub fn deadline(&self) -> Moment {
        self.extended_at + self.timeout
    }

    /// Whether `needed` of the lease is left, or as much of it as a fresh one can be trusted to have.
    pub fn lasts(&self, needed: Duration, now: Moment) -> bool {
        self.deadline().saturating_sub(now) >= needed.min(self.timeout * 2 / 3)
    }

    /// An accepted beat that was sent at `sent_at` extends the lease; an older one never shortens it.
    pub fn extend(&mut self, sent_at: Moment) {
        self.extended_at = self.extended_at.max(sent_at);
    }

    /// The interval between two reads of the task's status.
    pub fn status_interval(&self) -> Duration {
        self.beat_interval().min(LONGEST_STATUS_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn beats_at_a_third_and_lapses_at_the_end() {
        let mut lease = Lease::new(10 * SECOND, 60 * SECOND);
        assert_eq!(lease.next_beat(), 30 * SECOND);
        assert_eq!(lease.deadline(), 70 * SECOND);
        lease.extend(30 * SECOND);
        lease.extend(20 * SECOND);
        assert_eq!(lease.next_beat(), 50 * SECOND);
        assert_eq!(lease.status_interval(), 10 * SECOND);
        assert!(lease.lasts(60 * SECOND, 50 * SECOND) && lease.lasts(20 * SECOND, 70 * SECOND));
        assert!(!lease.lasts(60 * SECOND, 51 * SECOND) && !lease.lasts(20 * SECOND, 71 * SECOND));
        assert_eq!(Lease::new(SECOND, 6 * SECOND).status_interval(), 2 * SECOND);
    }

    #[test]
    fn a_timeout_of_zero_does_not_beat_without_end() {
        assert!(Lease::new(SECOND, Duration::ZERO).beat_interval() > Duration::from_millis(300));
    }
}
