#[path = "../support/mod.rs"]
mod support;

use perago::TaskError;
use support::{Output, Params};

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn generic<T>(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn with_a_lifetime<'a>(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn of_any_type(_: impl Into<Params>) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
const fn constant(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
unsafe fn dangerous(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
extern "C" fn foreign(_: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn lent(_: &Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn silent(_: Params) {}

fn main() {}
