//! How Conductor treats a task: retries, timeouts, limits, and the time a publication may take.

mod budget;
mod limits;
mod retry;
mod timeout;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ContractError;

pub use budget::PublishBudget;
pub use limits::ExecutionLimits;
pub use retry::{MAX_RETRY_COUNT, RetryLogic, RetryPolicy};
pub use timeout::{TimeoutAction, TimeoutPolicy};

const CODE: &str = "PERAGO-CONTROLS";

/// All controls of one task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskControls {
    /// Retries after a failed attempt.
    pub retry: RetryPolicy,
    /// Timeouts and what follows them.
    pub timeout: TimeoutPolicy,
    /// Concurrency and rate limits.
    pub limits: ExecutionLimits,
    /// How long a publication may take; for workspace tasks only.
    pub publish_budget: Option<PublishBudget>,
}

impl TaskControls {
    /// Every violated rule of these controls.
    pub fn violations(&self) -> Vec<ContractError> {
        let mut found = self.retry.violations();
        found.extend(self.timeout.violations());
        found.extend(self.limits.violations());
        found.extend(self.publish_budget.iter().flat_map(PublishBudget::violations));
        found
    }

    /// Writes the TaskDef fields in Conductor's names and the contract's order; the budget has none.
    pub(crate) fn write_task_def(&self, task_def: &mut Map<String, Value>) {
        let mut put = |key: &str, value: Value| {
            task_def.insert(key.to_owned(), value);
        };
        put("retryCount", self.retry.count.into());
        put("retryLogic", self.retry.logic.name().into());
        put("retryDelaySeconds", self.retry.delay_seconds.into());
        put("maxRetryDelaySeconds", self.retry.max_delay_seconds.into());
        put("backoffJitterMs", self.retry.jitter_ms.into());
        put("totalTimeoutSeconds", self.timeout.total_seconds.into());
        put("timeoutPolicy", self.timeout.policy.name().into());
        put("timeoutSeconds", self.timeout.seconds.into());
        put("responseTimeoutSeconds", self.timeout.response_seconds.into());
        put("pollTimeoutSeconds", self.timeout.poll_seconds.into());
        for (key, limit) in [
            ("concurrentExecLimit", self.limits.concurrent_exec_limit),
            ("rateLimitFrequencyInSeconds", self.limits.rate_limit_frequency_in_seconds),
            ("rateLimitPerFrequency", self.limits.rate_limit_per_frequency),
        ] {
            if let Some(limit) = limit {
                put(key, limit.into());
            }
        }
    }
}

/// The violations of `value >= least` for named fields.
fn below(owner: &str, least: i64, fields: &[(&str, i64)]) -> Vec<ContractError> {
    fields
        .iter()
        .filter(|(_, value)| *value < least)
        .map(|(name, value)| {
            ContractError::new(CODE, format!("{owner}.{name} must be >= {least}, not {value}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(TaskControls::default().violations(), Vec::new());
        assert_eq!(serde_json::from_str::<TaskControls>("{}").unwrap(), TaskControls::default());
    }

    #[test]
    fn every_bound_is_reported_at_once() {
        let controls: TaskControls = serde_json::from_value(serde_json::json!({
            "retry": {"count": 11, "delay_seconds": -1},
            "timeout": {"response_seconds": -5},
            "limits": {"rate_limit_per_frequency": 3},
            "publish_budget": {
                "observed_merge_p99_seconds": 20, "safety_margin_seconds": 10, "lakefs_merge_timeout_seconds": 29,
                "conductor_completion_timeout_seconds": 0, "worker_shutdown_grace_seconds": 1,
                "heartbeat_interval_seconds": 1
            }
        }))
        .unwrap();
        let messages: Vec<String> = controls.violations().iter().map(ToString::to_string).collect();
        for (message, keyword) in messages.iter().zip([
            "RetryPolicy.count must be between 0 and 10",
            "RetryPolicy.delay_seconds must be >= 0",
            "TimeoutPolicy.response_seconds must be >= 0",
            "must be configured together",
            "conductor_completion_timeout_seconds must be >= 1",
            "lakefs_merge_timeout_seconds must be >= observed_merge_p99_seconds",
        ]) {
            assert!(message.contains(keyword), "{messages:?}");
        }
        assert_eq!(messages.len(), 6, "{messages:?}");
    }

    #[test]
    fn unknown_fields_and_values_are_refused() {
        assert!(serde_json::from_str::<TaskControls>(r#"{"retries": {}}"#).is_err());
        assert!(serde_json::from_str::<RetryPolicy>(r#"{"logic": "fixed"}"#).is_err());
    }
}
