#[path = "../support/mod.rs"]
mod support;

use perago::TaskError;
use support::{Output, Params};

trait Counts {
    fn run(&self, params: Params) -> Result<Output, TaskError>;
}

struct Counter;
struct Many<T>(T);

#[perago::task(name = "a", owner_email = "ops@example.com")]
struct Empty;

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Counts for Counter {
    fn run(&self, _: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl<T> Many<T> {
    fn run(&self, _: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
mod tasks {}

fn main() {}
