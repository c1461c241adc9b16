//! Retries after a failed attempt.

use serde::{Deserialize, Serialize};

use super::{CODE, below};
use crate::error::ContractError;

/// The most retries that Conductor accepts for a task.
pub const MAX_RETRY_COUNT: i64 = 10;

/// How the delay between retries grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetryLogic {
    /// The same delay each time.
    #[default]
    Fixed,
    /// The delay doubles.
    ExponentialBackoff,
    /// The delay grows by its own length.
    LinearBackoff,
}

impl RetryLogic {
    /// Conductor's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "FIXED",
            Self::ExponentialBackoff => "EXPONENTIAL_BACKOFF",
            Self::LinearBackoff => "LINEAR_BACKOFF",
        }
    }
}

/// How often and when a failed attempt is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Retries after the first attempt, 0 to 10.
    pub count: i64,
    /// How the delay grows.
    pub logic: RetryLogic,
    /// Delay before the first retry, in seconds.
    pub delay_seconds: i64,
    /// Longest delay, in seconds; 0 is no bound.
    pub max_delay_seconds: i64,
    /// Random addition to each delay, in milliseconds.
    pub jitter_ms: i64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { count: 3, logic: RetryLogic::Fixed, delay_seconds: 60, max_delay_seconds: 0, jitter_ms: 0 }
    }
}

impl RetryPolicy {
    pub(super) fn violations(&self) -> Vec<ContractError> {
        let mut found = Vec::new();
        if !(0..=MAX_RETRY_COUNT).contains(&self.count) {
            let message =
                format!("RetryPolicy.count must be between 0 and {MAX_RETRY_COUNT}, not {}", self.count);
            found.push(ContractError::new(CODE, message));
        }
        let fields = [
            ("delay_seconds", self.delay_seconds),
            ("max_delay_seconds", self.max_delay_seconds),
            ("jitter_ms", self.jitter_ms),
        ];
        found.extend(below("RetryPolicy", 0, &fields));
        found
    }
}
