#[path = "../support/mod.rs"]
mod support;

use perago::TaskError;
use support::Output;

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn text(_: String) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn pair(_: (String, u32)) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn list(_: Vec<String>) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn unit(_: ()) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
