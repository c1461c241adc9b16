#[path = "../../support/mod.rs"]
mod support;

use std::path::PathBuf;

use perago::TaskError;
use support::{Output, Params};

#[perago::task(name = "a", owner_email = "ops@example.com", workspace)]
fn path(_: PathBuf, _: Params) -> Result<Output, TaskError> {
    Ok(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com", metrics)]
fn numbers(_: Params, _: Vec<f64>) -> Result<Output, TaskError> {
    Ok(Output {})
}

fn main() {}
