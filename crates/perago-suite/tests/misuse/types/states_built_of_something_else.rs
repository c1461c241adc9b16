#[path = "../../support/mod.rs"]
mod support;

use perago::TaskError;
use support::{Output, Params};

struct Counter;

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Counter {
    fn new() -> Option<Self> {
        Some(Self)
    }

    fn run(&self, _: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

fn main() {}
