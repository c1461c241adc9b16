//! What the fixtures' tasks take and return.

/// Params that are right.
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Params {}

/// A result that is right.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub struct Output {}
