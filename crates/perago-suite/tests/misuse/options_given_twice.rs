#[path = "../support/mod.rs"]
mod support;

use perago::{Metrics, TaskError, Workspace};
use support::{Output, Params};

#[perago::task(name = "a", name = "b", owner_email = "ops@example.com")]
fn a_task(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    workspace(prefix = "in", prefix = "out"),
    controls(retry(count = 1, count = 2), retry(count = 3))
)]
fn groups(_: Workspace, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    workspace(pre = [require_glob("*.txt", min_count = 1, min_count = 2)]),
    metrics(buckets("rows" = [1, 2], "rows" = [3, 4])),
)]
fn parts(_: Workspace, _: Params, _: Metrics) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
