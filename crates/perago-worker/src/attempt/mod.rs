//! One attempt from poll to delivered result.
//!
//! [`machine`] decides, purely: events in, effects out, time as an argument. [`drive`] carries the effects out.

mod adopt;
mod body;
mod busy_slot;
pub mod drive;
pub mod lease;
pub mod machine;
pub mod outcome;
pub(crate) mod ownership;
mod report;
pub mod task_log;

#[cfg(test)]
mod model_tests;
