//! Timeouts and what follows them.

use serde::{Deserialize, Serialize};

use super::below;
use crate::error::ContractError;

/// What Conductor does when a task takes longer than its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TimeoutAction {
    /// The task is retried.
    Retry,
    /// The workflow is timed out.
    #[default]
    TimeOutWf,
    /// Only a counter is raised.
    AlertOnly,
}

impl TimeoutAction {
    /// Conductor's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "RETRY",
            Self::TimeOutWf => "TIME_OUT_WF",
            Self::AlertOnly => "ALERT_ONLY",
        }
    }
}

/// How long a task may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutPolicy {
    /// What follows a timeout.
    pub policy: TimeoutAction,
    /// Longest time from the first poll to the end, in seconds; 0 is no bound.
    pub seconds: i64,
    /// The lease: longest time between two signs of life, in seconds.
    pub response_seconds: i64,
    /// Longest wait for a worker, in seconds; 0 is no bound.
    pub poll_seconds: i64,
    /// Longest time over all retries, in seconds; 0 is no bound.
    pub total_seconds: i64,
}

impl Default for TimeoutPolicy {
    fn default() -> Self {
        Self {
            policy: TimeoutAction::TimeOutWf,
            seconds: 0,
            response_seconds: 600,
            poll_seconds: 0,
            total_seconds: 0,
        }
    }
}

impl TimeoutPolicy {
    pub(super) fn violations(&self) -> Vec<ContractError> {
        let fields = [
            ("seconds", self.seconds),
            ("response_seconds", self.response_seconds),
            ("poll_seconds", self.poll_seconds),
            ("total_seconds", self.total_seconds),
        ];
        below("TimeoutPolicy", 0, &fields)
    }
}
