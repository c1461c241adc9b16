//! Switches of the built-in metrics.

use serde::{Deserialize, Serialize};

/// Which built-in metrics a task with metrics records; the body's own metrics are not affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricSpec {
    /// Records `runtime.task_attempt_duration_seconds`.
    pub attempts: bool,
    /// Records `runtime.workspace_io_duration_seconds` and `runtime.workspace_io_bytes`.
    pub workspace_io: bool,
    /// Records `runtime.busy_slots`.
    pub worker_capacity: bool,
}

impl Default for MetricSpec {
    fn default() -> Self {
        Self { attempts: true, workspace_io: true, worker_capacity: true }
    }
}
