//! Where a body runs: in an executor of its own, or in this process.

use std::path::Path;

use perago_worker::executor::launch::LaunchOptions;
use perago_worker::executor::message::{Assignment, Ended};
use serde_json::value::RawValue;

use super::executor::Executor;
use super::output_aside::OutputAside;
use super::stops::Stops;
use super::{BODY_VARIABLES, Halt, internal};
use crate::Host;
use crate::arguments::RunOptions;
use crate::describe::{Described, not_described};
use crate::failure::Failure;
use crate::interpreter::{Interpreter, InterpreterError, LocalAttempt};
use crate::printer::Printer;

/// The author's module, about to be imported or imported.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// In a process of its own.
    Apart(Box<Executor<'a>>),
    /// In this process.
    Here {
        /// What runs it.
        interpreter: &'a dyn Interpreter,
        /// Whether standard output is ours alone.
        is_output_ours: bool,
    },
}

impl<'a> Body<'a> {
    /// Gets ready to import the module; samples of its body go to `arena`.
    pub fn start(
        options: &RunOptions,
        host: &'a Host,
        printer: &'a Printer,
        arena: &Path,
        stops: &mut Stops<'_>,
    ) -> Result<Self, Halt> {
        if options.in_process {
            return Ok(Self::Here { interpreter: &*host.interpreter, is_output_ours: options.json });
        }
        let launch = LaunchOptions {
            module_target: options.target.module.clone(),
            describe_only: false,
            threads: 1,
            arena: arena.to_str().map(str::to_owned),
            resource_attribute_keys: Vec::new(),
            // Nobody keeps the reason; an author reads all of it.
            failure_reason_max_length: u64::MAX,
            results: None,
            kill_at: None,
        };
        let started = stops.wait(async { Executor::start(host, &launch, printer) })?;
        Ok(Self::Apart(Box::new(started.map_err(|reason| not_described(&reason))?)))
    }

    /// Imports the module and has it described.
    pub fn describe(&mut self, module_target: &str, stops: &mut Stops<'_>) -> Result<Described, Halt> {
        match self {
            Self::Apart(executor) => {
                let described = stops.wait(executor.description())?;
                Ok(described.map_err(|reason| not_described(&reason))?)
            }
            Self::Here { interpreter, is_output_ours } => {
                let _aside = aside(*is_output_ours)?;
                let description = interpreter.load(module_target, &BODY_VARIABLES).map_err(halt)?;
                Ok(Described::Description(description))
            }
        }
    }

    /// Runs the body.
    pub fn run(
        &mut self,
        params: Box<RawValue>,
        workspace: Option<&Path>,
        arena: &Path,
        stops: &mut Stops<'_>,
    ) -> Result<Ended, Halt> {
        match self {
            Self::Apart(executor) => {
                let assignment = Assignment {
                    attempt: 1,
                    slot: 1,
                    workflow_id: String::new(),
                    task_id: String::new(),
                    reference_name: String::new(),
                    retry_count: 0,
                    poll_count: 1,
                    params,
                    workspace: workspace.map(Path::to_owned),
                };
                Ok(stops.wait(executor.run(assignment))?.map_err(internal)?)
            }
            Self::Here { interpreter, is_output_ours } => {
                let _aside = aside(*is_output_ours)?;
                let attempt = LocalAttempt { params: params.get(), workspace, arena };
                interpreter.run(&attempt).map_err(halt)
            }
        }
    }

    /// Lets the process end, if it is one of its own.
    pub fn stop(self, stops: &mut Stops<'_>) -> Result<(), Halt> {
        match self {
            Self::Apart(executor) => stops.wait(executor.stop()),
            Self::Here { .. } => Ok(()),
        }
    }
}

fn aside(wanted: bool) -> Result<Option<OutputAside>, Failure> {
    wanted.then(OutputAside::new).transpose().map_err(internal)
}

fn halt(error: InterpreterError) -> Halt {
    match error {
        InterpreterError::Stopped => Halt::Stopped,
        InterpreterError::Failed(reason) => Halt::Failed(internal(reason)),
    }
}
