#[path = "../support/mod.rs"]
mod support;

use perago::{TaskError, Workspace};
use support::{Output, Params};

#[perago::task]
fn everything(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a")]
fn an_owner(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(
    name = "a",
    owner_email = "ops@example.com",
    workspace,
    controls(publish_budget(safety_margin_seconds = 10))
)]
fn parts_of_the_budget(_: Workspace, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
