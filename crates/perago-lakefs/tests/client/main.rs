//! The client against servers: the embedded store, a scripted one, and a real lakeFS where one is given.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![expect(clippy::print_stderr, reason = "says which server was left out")]

mod calls;
mod failures;
mod support;
mod transfers;
