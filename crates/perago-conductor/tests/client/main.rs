//! The client against a scripted server.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod calls;
mod failures;
mod support;
mod tokens;
