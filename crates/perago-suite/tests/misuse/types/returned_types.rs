#[path = "../../support/mod.rs"]
mod support;

use support::{Output, Params};

struct Refused;

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn bare_output(_: Params) -> Output {
    Output {}
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn option(_: Params) -> Option<Output> {
    Some(Output {})
}

#[perago::task(name = "a", owner_email = "ops@example.com")]
fn not_an_error(_: Params) -> Result<Output, Refused> {
    Err(Refused)
}

fn main() {}
