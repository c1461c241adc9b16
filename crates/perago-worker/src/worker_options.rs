//! What a worker is started with, and what it says of itself.

use std::path::PathBuf;

use perago_contract::Finding;
use perago_workspace::GlobDialect;

use crate::executor::launch::ExecutorProgram;
use crate::settings::{ExecutionMode, Settings};

/// What a worker is started with.
#[derive(Debug)]
pub struct WorkerOptions {
    /// The author's module.
    pub module_target: String,
    /// The task's name, where it is known before an executor says so.
    pub task_name: Option<String>,
    /// Slots.
    pub slots: u32,
    /// One process a slot, or one process with a thread a slot.
    pub execution_mode: ExecutionMode,
    /// The program that runs bodies.
    pub program: ExecutorProgram,
    /// Everything from the environment.
    pub settings: Settings,
    /// The locked state directory.
    pub state_directory: PathBuf,
    /// What patterns of guardrails mean in the authoring language.
    pub glob_dialect: GlobDialect,
    /// Called once when the worker is about to poll.
    pub on_ready: fn(&Ready),
}

/// What a worker that is about to poll can say of itself.
#[derive(Debug)]
pub struct Ready {
    /// The task's name.
    pub task_name: String,
    /// Where it polls.
    pub server: String,
    /// The id that Conductor shows.
    pub worker_id: String,
    /// Slots.
    pub slots: u32,
    /// The queue's domain.
    pub domain: Option<String>,
    /// The log file, unless the log goes to standard output.
    pub log_file: Option<PathBuf>,
    /// Warnings of the declaration and the settings.
    pub warnings: Vec<Finding>,
    /// Told by a setting, or by `perago pause`, not to poll.
    pub paused: bool,
}

/// How a worker stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Told to, and everything that ran was reported.
    Drained,
    /// Told twice, or a deadline passed: what ran, or a result that the server did not take, was given up.
    Forced,
}
