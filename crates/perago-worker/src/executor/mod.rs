//! Executors: the processes that run bodies, and how the supervisor speaks to them.
//!
//! The supervisor never imports the author's module. An executor does, once, says so in a ready frame that
//! carries the module's description, and then runs one body after the other. Bytes cross the channel, not
//! objects: parameters come as JSON, results go back as JSON.

pub mod channel;
pub(crate) mod code;
pub mod frame;
pub mod host;
pub mod launch;
mod memory_watch;
pub mod message;
pub mod out_of_memory;
pub mod output;
pub mod pool;
mod process;
mod recycling;
pub mod restart;
pub mod result_file;
mod stopping;
