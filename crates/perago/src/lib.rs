//! The Perago command line as a library: an authoring language brings a [`Host`] and calls [`run`].

mod arguments;
mod commands;
mod describe;
mod executor_command;
mod failure;
pub mod interpreter;
mod printer;
mod transfer_bar;

use std::ffi::OsString;
use std::sync::Arc;

use clap::Parser as _;
use clap::error::ErrorKind;
use perago_worker::executor::launch::ExecutorProgram;
pub use perago_worker::workspace::GlobDialect;

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
    /// Starts this command line again, for the demo's workers.
    pub command: ExecutorProgram,
    /// What patterns of guardrails mean to its authors.
    pub glob_dialect: GlobDialect,
    /// What the demo runs.
    pub demo: DemoMaterial,
}

/// The demo's material in the authoring language.
#[derive(Debug, Clone)]
pub struct DemoMaterial {
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
    let parsed = match Arguments::try_parse_from(arguments) {
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
        Command::Completion(options) => Ok(commands::completion::run(&options, &printer)),
    };
    outcome.unwrap_or_else(|failure| failure.print(&printer))
}
