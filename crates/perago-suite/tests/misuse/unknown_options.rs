//! Every group of options names what it knows.

#[path = "../support/mod.rs"]
mod support;

use perago::{Metrics, TaskError, Workspace};
use support::{Output, Params};

#[perago::task(name = "a", owner_email = "ops@example.com", retries = 3)]
fn of_a_task(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com", workspace(path = "in"))]
fn of_a_workspace(_: Workspace, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com", metrics(bucket("rows" = [1])))]
fn of_metrics(_: Params, _: Metrics) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    controls(
        retries(count = 1),
        retry(delay = 1),
        timeout(total = 1),
        limits(concurrent = 1),
    )
)]
fn of_controls(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    workspace(
        pre = [require_files("a.txt"), require_glob("*.txt", at_least = 1), "a.txt"],
        post = [require_file()],
    )
)]
fn of_guardrails(_: Workspace, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
