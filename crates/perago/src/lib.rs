//! Perago: one typed function becomes a production task worker for Conductor.
//!
//! A task is a function, or a type with a state, under [`#[perago::task]`](task); [`main!`] makes a binary of tasks with
//! the whole command line: `check`, `extract`, `run`, `start`, `dev`, `status` and `gc`.
//!
//! ```no_run
//! use perago::TaskError;
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Params {
//!     text: String,
//! }
//!
//! #[derive(serde::Serialize, schemars::JsonSchema)]
//! struct Output {
//!     words: usize,
//! }
//!
//! #[perago::task(name = "text.count", owner_email = "ops@example.com")]
//! fn count(params: Params) -> Result<Output, TaskError> {
//!     Ok(Output { words: params.text.split_whitespace().count() })
//! }
//!
//! perago::main!(count);
//! ```
//!
//! The same command line serves other languages: theirs brings a [`Host`] and calls [`run`].

extern crate self as perago;

/// The guide's blocks are compiled and run with the examples of this documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/en/tasks-in-rust.md")]
mod guide {}

mod arguments;
mod authoring;
mod commands;
mod describe;
mod executor_command;
mod failure;
mod grammar;
pub mod interpreter;
mod printer;
mod transfer_bar;

use std::ffi::OsString;
use std::sync::Arc;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
/// Declares a task: a function, or an `impl` block of a type that is built once an executor.
///
/// The function stays as it is. Beside it stands a type of the same name, which [`main!`] and
/// [`WorkerBuilder::task`] name. It takes, in this order, `workspace` if the attribute has `workspace`, its params, and
/// `metrics` if the attribute has `metrics`; it may be `async`; it returns a `Result` of any error.
///
/// ```
/// use perago::{Metrics, TaskError, Workspace};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Params {
///     name: String,
/// }
///
/// #[derive(serde::Serialize, schemars::JsonSchema)]
/// struct Output {
///     bytes: usize,
/// }
///
/// #[perago::task(
///     name = "notes.measure",
///     owner_email = "ops@example.com",
///     workspace(prefix = "notes", pre = [require_glob("*.txt")], read_only = true),
///     metrics(buckets("note_bytes" = [100, 1_000, 10_000])),
///     controls(retry(count = 5), timeout(response_seconds = 60)),
/// )]
/// fn measure(workspace: &Workspace, params: Params, metrics: &Metrics) -> Result<Output, TaskError> {
///     let bytes = std::fs::read(workspace.file(&params.name)?)?.len();
///     metrics.histogram("note_bytes", bytes, &[]);
///     Ok(Output { bytes })
/// }
///
/// // In a test it is called like any other function.
/// let missing = measure(&Workspace::at("/none"), Params { name: "a.txt".into() }, &Metrics::disabled());
/// assert!(missing.is_err());
/// ```
///
/// # Options
///
/// | option | |
/// | --- | --- |
/// | `name`, `owner_email` | required; an expression that becomes a `String` |
/// | `description`, `strict_params` | text in the TaskDef; whether unknown fields are refused |
/// | `workspace(…)` | `prefix`, `pre = […]`, `post = […]`, `read_only`, `on_moved_head = "fail"` or `"merge"` |
/// | guardrails | `require_file(path)`, `require_dir(path)`, `require_glob(pattern, min_count = 1, max_count = …)`, `forbid_glob(pattern)` |
/// | `metrics(…)` | `attempts`, `workspace_io`, `worker_capacity`, `buckets("name" = [bounds])` |
/// | `controls(retry(…))` | `count`, `logic`, `delay_seconds`, `max_delay_seconds`, `jitter_ms` |
/// | `controls(timeout(…))` | `policy`, `seconds`, `response_seconds`, `poll_seconds`, `total_seconds` |
/// | `controls(limits(…))` | `concurrent_exec_limit`, `rate_limit_per_frequency`, `rate_limit_frequency_in_seconds` |
/// | `controls(publish_budget(…))` | how long publishing may take; all of its parts, or none |
///
/// # A task with a state
///
/// ```
/// use perago::TaskError;
/// # #[derive(serde::Deserialize, schemars::JsonSchema)]
/// # struct Params { word: String }
/// # #[derive(serde::Serialize, schemars::JsonSchema)]
/// # struct Output { is_known: bool }
///
/// struct Dictionary {
///     words: Vec<String>,
/// }
///
/// #[perago::task(name = "words.look_up", owner_email = "ops@example.com")]
/// impl Dictionary {
///     // Once an executor; an error keeps the worker from starting. May be `async`, and may return `Self` alone.
///     fn new() -> Result<Self, TaskError> {
///         Ok(Self { words: vec!["song".to_owned()] })
///     }
///
///     fn run(&self, params: Params) -> Result<Output, TaskError> {
///         Ok(Output { is_known: self.words.contains(&params.word) })
///     }
/// }
///
/// assert!(Dictionary::new()?.run(Params { word: "song".into() })?.is_known);
/// # Ok::<(), TaskError>(())
/// ```
pub use perago_macros::task;
use perago_worker::executor::launch::ExecutorProgram;
pub use perago_worker::workspace::GlobDialect;

#[doc(hidden)]
pub use crate::authoring::private as __private;
pub use crate::authoring::{
    Cancellation, Cancelled, Gauge, Histogram, Metrics, Number, TaskError, TerminalError, Timer, TimerHandle,
    Worker, WorkerBuilder, Workspace, WorkspacePathError, cancellation,
};

use crate::arguments::{Arguments, Command};
use crate::interpreter::Interpreter;
use crate::printer::Printer;

/// The version that `perago --version` prints.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the command line needs to know of the program that it lives in.
#[derive(Debug, Clone)]
pub struct Host {
    /// Starts an executor of the authoring language.
    pub executor: ExecutorProgram,
    /// Runs bodies in this process.
    pub interpreter: Arc<dyn Interpreter>,
    /// What its authors name on the command line.
    pub targets: Targets,
    /// What patterns of guardrails mean to its authors.
    pub glob_dialect: GlobDialect,
    /// What the demo runs, if there is one.
    pub demo: Option<DemoMaterial>,
}

/// What `check`, `extract`, `run` and `start` are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// The import path of a module that declares one task.
    Modules,
    /// The name of one of these tasks, which the program itself holds.
    Tasks(Vec<String>),
}

/// The demo's material in the authoring language.
#[derive(Debug, Clone)]
pub struct DemoMaterial {
    /// Starts this command line again, for the demo's workers.
    pub command: ExecutorProgram,
    /// Writes WAV files into a folder and lists them as JSON: gets the folder and the number of songs.
    pub songs: ExecutorProgram,
    /// Where the modules are that declare the tasks: each is named after its task, with `_` for the dot.
    pub package: String,
}

impl DemoMaterial {
    /// Import path of the module that declares a task.
    pub(crate) fn module_of(&self, task_name: &str) -> String {
        format!("{}.{}", self.package, task_name.replace('.', "_"))
    }
}

/// Exit codes of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Everything done.
    Success,
    /// What was given cannot be used: module, settings, server.
    Failure,
    /// The command line itself is wrong.
    Usage,
    /// A fault of ours.
    Internal,
    /// Stopped before everything that ran had ended.
    Forced,
}

impl ExitStatus {
    /// The number that the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Internal => 3,
            Self::Forced => 4,
        }
    }
}

/// Runs one command line; `arguments` begins with the program's name.
///
/// Must be called before the process has a second thread: `start` forks its guardian.
pub fn run(arguments: Vec<OsString>, host: &Host) -> ExitStatus {
    let printer = Printer::default();
    let grammar = grammar::command(host, arguments.first().map(OsString::as_os_str));
    let parsed =
        grammar.try_get_matches_from(arguments).and_then(|found| Arguments::from_arg_matches(&found));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let rendered = error.render();
            return match error.kind() {
                ErrorKind::DisplayVersion => {
                    printer.output(VERSION);
                    ExitStatus::Success
                }
                ErrorKind::DisplayHelp => {
                    printer.output(rendered.to_string().trim_end());
                    ExitStatus::Success
                }
                _ => {
                    printer.message(rendered.to_string().trim_end());
                    ExitStatus::Usage
                }
            };
        }
    };
    let outcome = match parsed.command {
        Command::Check(options) => commands::check::run(&options, host, &printer),
        Command::Extract(options) => commands::extract::run(&options, host, &printer),
        Command::Run(options) => commands::run::run(&options, host, &printer),
        Command::Start(options) => commands::start::run(&options, host, &printer),
        Command::Pause => commands::pause::pause(&printer),
        Command::Resume => commands::pause::resume(&printer),
        Command::Status(options) => commands::status::run(&options, &printer),
        Command::Gc(options) => commands::gc::run(&options, &printer),
        Command::Dev(options) => commands::dev::run(&options, &printer),
        Command::Demo(options) => commands::demo::run(&options, host, &printer),
        Command::Completion(options) => Ok(commands::completion::run(&options, host, &printer)),
    };
    outcome.unwrap_or_else(|failure| failure.print(&printer))
}
