//! Asks a child process for a module's description: the command line never imports the author's module.

use std::io;

use perago_worker::executor::frame;
use perago_worker::executor::launch::LaunchOptions;
use perago_worker::executor::message::FromExecutor;
use perago_worker::module_description::ModuleDescription;
use serde_json::value::RawValue;

use crate::executor_command::executor_command;
use crate::failure::Failure;
use crate::{ExitStatus, Host};

/// What the process that imports a module says of it.
#[derive(Debug)]
pub(crate) enum Described {
    /// The description as JSON.
    Description(Box<RawValue>),
    /// It ended before, this way.
    Ended(String),
}

impl Described {
    /// The description, with what the contract finds.
    pub fn read(self, module_target: &str) -> Result<ModuleDescription, Failure> {
        match self {
            Self::Description(raw) => ModuleDescription::parse(&raw).map_err(|reason| {
                Failure::new(format!("the module's description is not understood: {reason}"))
                    .with_status(ExitStatus::Internal)
            }),
            Self::Ended(how) => Err(Failure::with_hint(
                format!("the process that imports {module_target} ended before it had: {how}"),
                Some("look at what the module does when it is imported: it must not exit or crash".into()),
            )),
        }
    }
}

/// The failure of a process that could not be asked.
pub(crate) fn not_described(reason: &io::Error) -> Failure {
    Failure::new(format!("the module cannot be described: {reason}")).with_status(ExitStatus::Internal)
}

/// Describes `module_target`.
pub(crate) fn describe(host: &Host, module_target: &str) -> Result<ModuleDescription, Failure> {
    let launch = LaunchOptions {
        module_target: module_target.to_owned(),
        describe_only: true,
        threads: 1,
        arena: None,
        resource_attribute_keys: Vec::new(),
        failure_reason_max_length: 500,
        results: None,
        kill_at: None,
    };
    ask(host, &launch).map_err(|reason| not_described(&reason))?.read(module_target)
}

fn ask(host: &Host, launch: &LaunchOptions) -> io::Result<Described> {
    let (mut command, mut ours) = executor_command(host, launch)?;
    let mut child = command.spawn()?;
    drop(command);
    let answer = loop {
        match frame::read::<FromExecutor>(&mut ours)? {
            Some(FromExecutor::Ready(raw) | FromExecutor::Unready(raw)) => break Some(raw),
            Some(_) => {}
            None => break None,
        }
    };
    if let Some(raw) = answer {
        // It has said all it knows; what the module's exit handlers would do is of no interest.
        let _ = child.kill();
        child.wait()?;
        return Ok(Described::Description(raw));
    }
    Ok(Described::Ended(child.wait()?.to_string()))
}
