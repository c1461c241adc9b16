#[path = "../../support/mod.rs"]
mod support;

use std::cell::Cell;

use perago::TaskError;
use support::{Output, Params};

struct Counter {
    bodies: Cell<u64>,
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Counter {
    fn new() -> Self {
        Self { bodies: Cell::new(0) }
    }

    fn run(&self, _: Params) -> Result<Output, TaskError> {
        self.bodies.set(self.bodies.get() + 1);
        Ok(Output {})
    }
}

fn main() {}
