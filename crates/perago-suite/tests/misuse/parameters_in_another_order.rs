#[path = "../support/mod.rs"]
mod support;

use perago::{Metrics, TaskError, Workspace};
use support::{Output, Params};

#[perago::task(name = "a", owner_email = "ops@example.com", workspace)]
fn workspace_last(_: Params, _: &Workspace) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com", metrics)]
fn metrics_first(_: &Metrics, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com", workspace, metrics)]
fn metrics_between(_: &Workspace, _: &Metrics, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
