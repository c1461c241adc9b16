#[path = "../../support/mod.rs"]
mod support;

use perago::TaskError;
use support::Params;

struct Bare {}

#[derive(serde::Serialize)]
struct Undescribed {}

#[derive(schemars::JsonSchema)]
struct Unwritten {}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn bare(_: Params) -> Result<Bare, TaskError> {
    Ok(Bare {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn undescribed(_: Params) -> Result<Undescribed, TaskError> {
    Ok(Undescribed {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn unwritten(_: Params) -> Result<Unwritten, TaskError> {
    Ok(Unwritten {})
}

fn main() {}
