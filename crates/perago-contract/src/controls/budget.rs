//! The time that a publication may take.

use serde::{Deserialize, Serialize};

use super::{CODE, below};
use crate::error::ContractError;

/// The parts of the time between the end of a body and Conductor's answer to its result, all in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishBudget {
    /// Measured 99th percentile of a merge.
    pub observed_merge_p99_seconds: i64,
    /// Added to the measured merge time.
    pub safety_margin_seconds: i64,
    /// Time limit of the merge request; at least the sum of the two above.
    pub lakefs_merge_timeout_seconds: i64,
    /// Time that the result's report may take.
    pub conductor_completion_timeout_seconds: i64,
    /// Time that a stopping worker leaves its attempts.
    pub worker_shutdown_grace_seconds: i64,
    /// Time between two signs of life.
    pub heartbeat_interval_seconds: i64,
}

impl PublishBudget {
    /// The lease that this budget needs, in seconds.
    pub fn response_timeout_seconds(&self) -> i64 {
        [
            self.conductor_completion_timeout_seconds,
            self.worker_shutdown_grace_seconds,
            self.heartbeat_interval_seconds,
        ]
        .iter()
        .fold(self.lakefs_merge_timeout_seconds, |sum, part| sum.saturating_add(*part))
    }

    pub(super) fn violations(&self) -> Vec<ContractError> {
        let measured = [
            ("observed_merge_p99_seconds", self.observed_merge_p99_seconds),
            ("safety_margin_seconds", self.safety_margin_seconds),
        ];
        let limits = [
            ("lakefs_merge_timeout_seconds", self.lakefs_merge_timeout_seconds),
            ("conductor_completion_timeout_seconds", self.conductor_completion_timeout_seconds),
            ("worker_shutdown_grace_seconds", self.worker_shutdown_grace_seconds),
            ("heartbeat_interval_seconds", self.heartbeat_interval_seconds),
        ];
        let mut found = below("PublishBudget", 0, &measured);
        found.extend(below("PublishBudget", 1, &limits));
        let needed = self.observed_merge_p99_seconds.saturating_add(self.safety_margin_seconds);
        if self.lakefs_merge_timeout_seconds < needed {
            found.push(ContractError::new(
                CODE,
                "PublishBudget.lakefs_merge_timeout_seconds must be >= observed_merge_p99_seconds + safety_margin_seconds",
            ));
        }
        found
    }
}
