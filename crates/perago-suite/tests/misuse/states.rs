#[path = "../support/mod.rs"]
mod support;

use perago::TaskError;
use support::{Output, Params};

struct Unbuilt;

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Unbuilt {
    fn run(&self, _: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

struct Idle;

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Idle {
    fn new() -> Self {
        Self
    }
}

struct Configured;

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Configured {
    fn new(_path: &str) -> Self {
        Self
    }

    fn run(&self, _: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

struct Lost;

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Lost {
    fn new() {}

    fn run(&self, _: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

struct Changing;

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Changing {
    fn new() -> Self {
        Self
    }

    fn run(&mut self, _: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

struct Stateless;

#[perago::task(name = "a", owner_email = "ops@example.com")]
impl Stateless {
    fn new() -> Self {
        Self
    }

    fn run(_: Params) -> Result<Output, TaskError> {
        Ok(Output {})
    }
}

fn main() {}
