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
/// Declares a task. Stands on a function, or on an `impl` block with `new` and `run`.
///
/// The body takes its parameters, with `workspace` the [`Workspace`] before them and with `metrics` the [`Metrics`] after
/// them, both by value or by reference. It is `fn` or `async fn` and returns `Result<Output, Error>` of any error: `?`
/// makes a failure that Conductor retries, [`TaskError::terminal`] one that it does not.
///
/// ```
/// use perago::{Metrics, TaskError, Workspace};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Params {
///     #[serde(default)]
///     gain: f64,
/// }
///
/// #[derive(serde::Serialize, schemars::JsonSchema)]
/// struct Output {
///     bytes: u64,
/// }
///
/// #[perago::task(
///     name = "audio.render",
///     owner_email = "audio@example.com",
///     description = "Renders the score.",
///     workspace(prefix = "audio", pre = [require_glob("in/*.mid", min_count = 1)], post = [forbid_glob("**/*.tmp")]),
///     metrics(buckets("render_seconds" = [0.1, 1, 10])),
///     controls(
///         retry(count = 5, logic = "EXPONENTIAL_BACKOFF", delay_seconds = 2),
///         timeout(response_seconds = 300),
///     ),
/// )]
/// async fn render(workspace: Workspace, params: Params, metrics: &Metrics) -> Result<Output, TaskError> {
///     let _timer = metrics.timer("render_seconds", &[]);
///     if params.gain > 12.0 {
///         return Err(TaskError::terminal("nobody could listen to that"));
///     }
///     let path = workspace.file("out/score.wav")?;
///     Ok(Output { bytes: std::fs::metadata(path)?.len() })
/// }
/// # fn main() {}
/// ```
///
/// On an `impl` block the type is the task. `new` builds it once an executor, and may be `async` and fail; `run` is the
/// body, with `&self` before what a function takes:
///
/// ```
/// # use perago::TaskError;
/// # #[derive(serde::Deserialize, schemars::JsonSchema)]
/// # struct Params { text: String }
/// # #[derive(serde::Serialize, schemars::JsonSchema)]
/// # struct Output { known: bool }
/// struct Lookup {
///     words: Vec<String>,
/// }
///
/// #[perago::task(name = "text.lookup", owner_email = "text@example.com")]
/// impl Lookup {
///     fn new() -> Result<Self, std::io::Error> {
///         let text = std::fs::read_to_string("words.txt")?;
///         Ok(Self { words: text.lines().map(str::to_owned).collect() })
///     }
///
///     fn run(&self, params: Params) -> Result<Output, TaskError> {
///         Ok(Output { known: self.words.contains(&params.text) })
///     }
/// }
///
/// perago::main!(Lookup);
/// ```
///
/// The options, those of Python's `@task` by the same names:
///
/// | option | fields |
/// | --- | --- |
/// | `name`, `owner_email` | required |
/// | `description`, `strict_params` | |
/// | `workspace(…)` | `prefix`, `pre = […]`, `post = […]`, `read_only`, `on_moved_head = "fail"` or `"merge"`; rules are `require_file("…")`, `require_dir("…")`, `require_glob("…", min_count = …, max_count = …)`, `forbid_glob("…")` |
/// | `metrics`, `metrics(…)` | `attempts`, `workspace_io`, `worker_capacity`, `buckets("name" = […])` |
/// | `controls(…)` | `retry(count, logic, delay_seconds, max_delay_seconds, jitter_ms)`, `timeout(policy, seconds, response_seconds, poll_seconds, total_seconds)`, `limits(concurrent_exec_limit, rate_limit_frequency_in_seconds, rate_limit_per_frequency)`, `publish_budget(…)` |
///
/// A function stays what it is: tests call it as any other.
pub use perago_macros::task;
use perago_worker::executor::launch::ExecutorProgram;
pub use perago_worker::workspace::GlobDialect;

#[doc(hidden)]
pub use crate::authoring::private as __private;
pub use crate::authoring::{
    Cancellation, Cancelled, Gauge, Histogram, Metrics, Number, TaskError, TerminalError, Timer, TimerHandle,
    Worker, WorkerBuilder, Workspace, WorkspacePathError, cancellation, testing,
};

use crate::arguments::{Arguments, Command};
use crate::interpreter::Interpreter;
use crate::printer::Printer;

/// The version that `perago --version` prints.
///
/// ```
/// assert_eq!(perago::VERSION.split('.').count(), 3);
/// ```
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the command line needs to know of the program that it lives in: what an authoring language brings.
///
/// ```
/// # use std::sync::Arc;
/// # use perago::interpreter::{Interpreter, InterpreterError, LocalAttempt};
/// # use perago_worker::executor::{launch::ExecutorProgram, message::Ended};
/// # #[derive(Debug)]
/// # struct Absent;
/// # impl Interpreter for Absent {
/// #     fn load(&self, _: &str, _: &[(&str, &str)]) -> Result<Box<serde_json::value::RawValue>, InterpreterError> {
/// #         Err(InterpreterError::Stopped)
/// #     }
/// #     fn run(&self, _: &LocalAttempt<'_>) -> Result<Ended, InterpreterError> {
/// #         Err(InterpreterError::Stopped)
/// #     }
/// # }
/// use perago::{ExitStatus, GlobDialect, Host, Targets};
///
/// let executor = ExecutorProgram {
///     program: "python3".to_owned(),
///     arguments: vec!["-m".to_owned(), "executor".to_owned()],
///     code: None,
/// };
/// let host = Host {
///     executor,
///     interpreter: Arc::new(Absent),
///     targets: Targets::Modules,
///     glob_dialect: GlobDialect::of_python(3, 12),
///     demo: None,
/// };
/// assert_eq!(host.targets, Targets::Modules);
/// # let _ = ExitStatus::Success;
/// ```
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
///
/// ```
/// let tasks = perago::Targets::Tasks(vec!["text.count".to_owned()]);
/// assert_ne!(tasks, perago::Targets::Modules);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// The import path of a module that declares one task.
    Modules,
    /// The name of one of these tasks, which the program itself holds.
    Tasks(Vec<String>),
}

impl Targets {
    /// The task that a target names, where targets are names of tasks.
    pub(crate) fn task_named(&self, target: &str) -> Option<String> {
        match self {
            Self::Modules => None,
            Self::Tasks(names) => names.iter().find(|name| *name == target).cloned(),
        }
    }
}

/// The demo's material in the authoring language.
///
/// ```
/// use perago_worker::executor::launch::ExecutorProgram;
///
/// let python = |module: &str| ExecutorProgram {
///     program: "python3".to_owned(),
///     arguments: vec!["-m".to_owned(), module.to_owned()],
///     code: None,
/// };
/// let demo = perago::DemoMaterial {
///     command: python("perago"),
///     songs: python("perago.demo.songs"),
///     package: "perago.demo".to_owned(),
/// };
/// assert_eq!(demo.songs.arguments, ["-m", "perago.demo.songs"]);
/// ```
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
///
/// ```
/// assert_eq!(perago::ExitStatus::Usage.code(), 2);
/// ```
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
///
/// ```
/// # use std::sync::Arc;
/// # use perago::interpreter::{Interpreter, InterpreterError, LocalAttempt};
/// # use perago_worker::executor::{launch::ExecutorProgram, message::Ended};
/// # #[derive(Debug)]
/// # struct Absent;
/// # impl Interpreter for Absent {
/// #     fn load(&self, _: &str, _: &[(&str, &str)]) -> Result<Box<serde_json::value::RawValue>, InterpreterError> {
/// #         Err(InterpreterError::Stopped)
/// #     }
/// #     fn run(&self, _: &LocalAttempt<'_>) -> Result<Ended, InterpreterError> {
/// #         Err(InterpreterError::Stopped)
/// #     }
/// # }
/// use perago::{ExitStatus, GlobDialect, Host, Targets};
///
/// let executor = ExecutorProgram {
///     program: "python3".to_owned(),
///     arguments: vec!["-m".to_owned(), "executor".to_owned()],
///     code: None,
/// };
/// let host = Host {
///     executor,
///     interpreter: Arc::new(Absent),
///     targets: Targets::Modules,
///     glob_dialect: GlobDialect::of_python(3, 12),
///     demo: None,
/// };
/// let arguments = ["perago", "--no-such-option"].map(Into::into).to_vec();
/// assert_eq!(perago::run(arguments, &host), ExitStatus::Usage);
/// ```
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
