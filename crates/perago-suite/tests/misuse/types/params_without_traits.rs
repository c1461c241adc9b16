#[path = "../../support/mod.rs"]
mod support;

use perago::TaskError;
use support::Output;

struct Bare {}

#[derive(serde::Deserialize)]
struct Undescribed {}

#[derive(schemars::JsonSchema)]
struct Unread {}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn bare(_: Bare) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn undescribed(_: Undescribed) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn unread(_: Unread) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
