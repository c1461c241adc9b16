//! The task contract: what a task declares, how it appears to Conductor, and how its attempts can fail.
//!
//! Nothing here knows an authoring language. A language hands over a [`TaskDescription`] (names, raw JSON Schemas,
//! specs); this crate checks it, maps it to a Conductor TaskDef and names every failure with a stable code.

mod constraints;
mod description;
mod error;
mod finding;
mod guardrail;
mod identity;
mod json_text;
mod metric_spec;
mod staging;
mod taskdef;
mod workspace_spec;

pub mod controls;
pub mod envelope;
pub mod failure;
pub mod schema;

pub use constraints::{Constraints, Violation};
pub use controls::{ExecutionLimits, PublishBudget, RetryPolicy, TaskControls, TimeoutPolicy};
pub use description::{SourceLocation, TaskDescription};
pub use error::ContractError;
pub use failure::FailureCode;
pub use finding::{Finding, Severity};
pub use guardrail::{Guardrail, GuardrailKind, check_workspace_path};
pub use identity::{check_owner_email, check_task_name};
pub use json_text::to_pretty_ascii_json;
pub use metric_spec::{LAST_BOUND_OF_SECONDS, MOST_BUCKET_BOUNDS, MetricSpec};
pub use staging::{StagingAttempt, staging_branch_name};
pub use taskdef::TaskSchemas;
pub use workspace_spec::{OnMovedHead, WorkspaceSpec, normalise_prefix};
