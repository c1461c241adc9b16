//! The worker: one supervisor process that polls, runs bodies in executor processes, and reports.
//!
//! Owns settings, permits, the attempt state machine, leases, drain and logs. It refuses to know the authoring
//! language: it never imports the author's module, an executor describes it.

mod allocator;
pub mod attempt;
pub mod clock;
pub mod executor;
pub mod export;
pub mod exported;
pub mod guardian;
pub mod instruments;
pub mod kill_point;
pub mod logs;
mod memory;
pub mod metrics;
pub mod module_description;
pub mod open_attempts;
pub mod operator;
mod orphans;
pub mod outbox;
pub mod overdue;
pub mod poller;
mod requirements;
pub mod settings;
pub mod signals;
#[cfg(test)]
mod simulation;
pub mod state_directory;
pub mod state_disk;
mod state_volume;
mod surroundings;
pub mod worker;
pub mod worker_error;
pub mod worker_instruments;
mod worker_options;
pub mod workspace;
