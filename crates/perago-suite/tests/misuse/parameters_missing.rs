#[path = "../support/mod.rs"]
mod support;

use perago::{Metrics, TaskError, Workspace};
use support::{Output, Params};

#[perago::task(name = "a", owner_email = "ops@example.com", metrics(buckets("rows" = [1, 10])))]
fn metrics_declared(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn metrics_taken(_: Params, _: Metrics) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com", workspace(prefix = "in"))]
fn workspace_declared(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn workspace_taken(_: Workspace, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn nothing() -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com", workspace, metrics)]
fn params_forgotten(_: &Workspace, _: &Metrics) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn one_too_many(_: Params, _: u32) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
