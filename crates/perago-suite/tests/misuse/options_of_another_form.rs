#[path = "../support/mod.rs"]
mod support;

use perago::{Metrics, TaskError, Workspace};
use support::{Output, Params};

#[perago::task(name("a"), owner_email)]
fn texts(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = 7, owner_email = true, description = 1.5, strict_params = "yes")]
fn values(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    workspace(pre = require_file("a.txt"), on_moved_head = "overwrite", read_only = 1),
    metrics(attempts = "no", buckets = [1]),
    controls(retry = 3, timeout(policy = "STOP", seconds = "60"))
)]
fn groups(_: Workspace, _: Params, _: Metrics) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com", metrics = true)]
fn flags(_: Params, _: Metrics) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
