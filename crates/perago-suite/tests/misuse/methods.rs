#[path = "../support/mod.rs"]
mod support;

use perago::TaskError;
use support::{Output, Params};

struct Counter;

impl Counter {
    #[perago::task(name = "a", owner_email = "ops@example.com")]
    fn count(&self, _: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

fn main() {}
