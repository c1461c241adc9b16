//! Task definitions: fields, defaults and validation rules of the Conductor server.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Violation;

/// What happens when a task exceeds `timeoutSeconds`, `pollTimeoutSeconds` or `totalTimeoutSeconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TimeoutPolicy {
    /// The attempt times out and is retried.
    Retry,
    /// The whole workflow times out.
    TimeOutWf,
    /// Nothing but a log line.
    AlertOnly,
}

impl TimeoutPolicy {
    /// The wire name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "RETRY",
            Self::TimeOutWf => "TIME_OUT_WF",
            Self::AlertOnly => "ALERT_ONLY",
        }
    }
}

/// How the delay before a retry grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetryLogic {
    /// Always `retryDelaySeconds`.
    Fixed,
    /// `retryDelaySeconds` doubled with each retry.
    ExponentialBackoff,
    /// `retryDelaySeconds` times `backoffScaleFactor` times the number of the retry.
    LinearBackoff,
}

/// A task definition as stored and served; every duration is in seconds unless the name says `Ms`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskDefinition {
    /// Epoch milliseconds; 0 in the implicit definition of an unregistered task.
    #[serde(deserialize_with = "ignored_time")]
    pub create_time: i64,
    /// Epoch milliseconds of the last `PUT`.
    #[serde(deserialize_with = "ignored_time")]
    pub update_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_by: Option<String>,
    /// Task type.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// How often a failed task is tried again.
    pub retry_count: i64,
    /// Longest run of one attempt; 0 is unlimited.
    pub timeout_seconds: i64,
    input_keys: Vec<String>,
    output_keys: Vec<String>,
    runtime_metadata: Vec<String>,
    /// What a timeout does.
    pub timeout_policy: TimeoutPolicy,
    /// Growth of the delay before a retry.
    pub retry_logic: RetryLogic,
    /// Base of the delay before a retry.
    pub retry_delay_seconds: i64,
    /// Lease: an attempt without sign of life for so long is taken away.
    pub response_timeout_seconds: i64,
    /// Greatest number of attempts in progress at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_exec_limit: Option<i64>,
    /// Defaults for the task's input.
    pub input_template: Map<String, Value>,
    /// Greatest number of attempts started in one window; 0 is unlimited.
    pub rate_limit_per_frequency: i64,
    /// Length of that window.
    pub rate_limit_frequency_in_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation_group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_name_space: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_email: Option<String>,
    /// Longest wait for a poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_timeout_seconds: Option<i64>,
    /// Factor of `LINEAR_BACKOFF`.
    pub backoff_scale_factor: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<Value>,
    /// Upper bound of the delay before a retry; 0 is none.
    pub max_retry_delay_seconds: i64,
    /// Uniform random milliseconds added to the delay before a retry.
    pub backoff_jitter_ms: i64,
    /// Longest time over all attempts since the first was scheduled; 0 is unlimited.
    pub total_timeout_seconds: i64,
    task_status_listener_enabled: bool,
    enforce_schema: bool,
}

impl Default for TaskDefinition {
    fn default() -> Self {
        Self {
            create_time: 0,
            update_time: 0,
            created_by: None,
            updated_by: None,
            name: String::new(),
            description: None,
            retry_count: 3,
            timeout_seconds: 0,
            input_keys: Vec::new(),
            output_keys: Vec::new(),
            runtime_metadata: Vec::new(),
            timeout_policy: TimeoutPolicy::TimeOutWf,
            retry_logic: RetryLogic::Fixed,
            retry_delay_seconds: 60,
            response_timeout_seconds: 3600,
            concurrent_exec_limit: None,
            input_template: Map::new(),
            rate_limit_per_frequency: 0,
            rate_limit_frequency_in_seconds: 1,
            isolation_group_id: None,
            execution_name_space: None,
            owner_email: None,
            poll_timeout_seconds: None,
            backoff_scale_factor: 1,
            base_type: None,
            input_schema: None,
            output_schema: None,
            max_retry_delay_seconds: 0,
            backoff_jitter_ms: 0,
            total_timeout_seconds: 0,
            task_status_listener_enabled: true,
            enforce_schema: false,
        }
    }
}

impl TaskDefinition {
    /// The definition of a task that nobody registered: the defaults.
    pub fn implicit(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Stamps a definition that `POST` stores.
    pub(super) fn created(mut self, now: i64) -> Self {
        self.create_time = now;
        self.update_time = 0;
        self.created_by = Some(String::new());
        self.updated_by = None;
        self
    }

    /// Stamps a definition that `PUT` stores over `earlier`.
    pub(super) fn updated(mut self, earlier: &Self, now: i64) -> Self {
        self.create_time = earlier.create_time;
        self.created_by.clone_from(&earlier.created_by);
        self.update_time = now;
        self.updated_by = Some(String::new());
        self
    }

    /// Returns every rule of the server that this definition violates; `path` names it in the report.
    pub fn violations(&self, path: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        if self.name.trim().is_empty() {
            let message = "TaskDef name cannot be null or empty";
            found.push(Violation::of_field(format!("{path}.name"), message, &self.name));
        }
        if self.retry_count < 0 {
            let message = "TaskDef retryCount: 0 must be >= 0";
            found.push(Violation::of_field(format!("{path}.retryCount"), message, self.retry_count));
        }
        if self.response_timeout_seconds < 1 {
            let message = format!(
                "TaskDef responseTimeoutSeconds: {} should be minimum 1 second",
                self.response_timeout_seconds
            );
            let value = self.response_timeout_seconds;
            found.push(Violation::of_field(format!("{path}.responseTimeoutSeconds"), message, value));
        }
        if self.backoff_scale_factor < 1 {
            let message = "Backoff scale factor. Applicable for LINEAR_BACKOFF";
            found.push(Violation::of_field(
                format!("{path}.backoffScaleFactor"),
                message,
                self.backoff_scale_factor,
            ));
        }
        found.extend(self.timeout_violations(path));
        found
    }

    fn timeout_violations(&self, path: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        if self.timeout_seconds > 0 && self.response_timeout_seconds > self.timeout_seconds {
            let message = format!(
                "TaskDef: {} responseTimeoutSeconds: {} must be less than timeoutSeconds: {}",
                self.name, self.response_timeout_seconds, self.timeout_seconds
            );
            found.push(Violation::of_object(path, message));
        }
        if self.total_timeout_seconds > 0 && self.timeout_seconds > self.total_timeout_seconds {
            let message = format!(
                "TaskDef: {} timeoutSeconds: {} must be less than or equal to totalTimeoutSeconds: {}",
                self.name, self.timeout_seconds, self.total_timeout_seconds
            );
            found.push(Violation::of_object(path, message));
        }
        found
    }

    /// Returns the delay in seconds before retry number `retry` (1 is the first), without jitter.
    pub fn retry_delay_seconds(&self, retry: i64) -> i64 {
        let base = self.retry_delay_seconds.max(0);
        let delay = match self.retry_logic {
            RetryLogic::Fixed => base,
            RetryLogic::LinearBackoff => base.saturating_mul(self.backoff_scale_factor).saturating_mul(retry),
            RetryLogic::ExponentialBackoff => {
                let doublings = u32::try_from(retry - 1).unwrap_or(0).min(40);
                base.saturating_mul(1_i64 << doublings)
            }
        };
        let capped =
            if self.max_retry_delay_seconds > 0 { delay.min(self.max_retry_delay_seconds) } else { delay };
        // Beyond ten years nothing is distinguishable, and milliseconds stay far from overflow.
        capped.min(315_360_000)
    }
}

fn ignored_time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(json: &str) -> TaskDefinition {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn served_with_the_defaults_of_the_server() {
        let shown =
            serde_json::to_string(&definition(r#"{"name":"a","createTime":"x"}"#).created(5)).unwrap();
        assert!(
            shown.starts_with(r#"{"createTime":5,"updateTime":0,"createdBy":"","name":"a","retryCount":3,"#)
        );
        assert!(shown.ends_with(r#""taskStatusListenerEnabled":true,"enforceSchema":false}"#));
    }

    #[test]
    fn a_timeout_below_the_default_response_timeout_is_refused() {
        let found = definition(r#"{"name":"x","timeoutSeconds":10}"#).violations("p");
        assert_eq!(
            found[0].message,
            "TaskDef: x responseTimeoutSeconds: 3600 must be less than timeoutSeconds: 10"
        );
        let equal = r#"{"name":"x","timeoutSeconds":10,"responseTimeoutSeconds":10}"#;
        assert!(definition(equal).violations("p").is_empty());
    }

    #[test]
    fn delays_grow_as_measured_on_the_server() {
        let delays = |rest: &str| -> Vec<i64> {
            let definition = definition(&format!(r#"{{"name":"x","retryDelaySeconds":1,{rest}}}"#));
            (1..=4).map(|retry| definition.retry_delay_seconds(retry)).collect()
        };
        assert_eq!(delays(r#""retryLogic":"FIXED""#), [1, 1, 1, 1]);
        assert_eq!(delays(r#""retryLogic":"LINEAR_BACKOFF","backoffScaleFactor":2"#), [2, 4, 6, 8]);
        assert_eq!(delays(r#""retryLogic":"EXPONENTIAL_BACKOFF","backoffScaleFactor":9"#), [1, 2, 4, 8]);
        let capped = r#""retryLogic":"EXPONENTIAL_BACKOFF","maxRetryDelaySeconds":3"#;
        assert_eq!(delays(capped), [1, 2, 3, 3]);
    }
}
