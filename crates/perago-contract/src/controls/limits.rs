//! Concurrency and rate limits.

use serde::{Deserialize, Serialize};

use super::{CODE, below};
use crate::error::ContractError;

/// How many attempts may run, at once and per time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionLimits {
    /// Attempts that may run at once, over all workers.
    pub concurrent_exec_limit: Option<i64>,
    /// Window of the rate limit, in seconds.
    pub rate_limit_frequency_in_seconds: Option<i64>,
    /// Attempts that may start in each window.
    pub rate_limit_per_frequency: Option<i64>,
}

impl ExecutionLimits {
    pub(super) fn violations(&self) -> Vec<ContractError> {
        let set: Vec<(&str, i64)> = [
            ("concurrent_exec_limit", self.concurrent_exec_limit),
            ("rate_limit_frequency_in_seconds", self.rate_limit_frequency_in_seconds),
            ("rate_limit_per_frequency", self.rate_limit_per_frequency),
        ]
        .into_iter()
        .filter_map(|(name, limit)| limit.map(|value| (name, value)))
        .collect();
        let mut found = below("ExecutionLimits", 0, &set);
        if self.rate_limit_frequency_in_seconds.is_some() != self.rate_limit_per_frequency.is_some() {
            found.push(ContractError::new(
                CODE,
                "ExecutionLimits.rate_limit_frequency_in_seconds and rate_limit_per_frequency must be configured together",
            ));
        }
        found
    }
}
