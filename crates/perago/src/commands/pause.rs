//! `perago pause` and `perago resume`: whether the worker of a state directory takes tasks.

use std::path::PathBuf;

use perago_worker::operator::PauseMarker;
use perago_worker::state_directory::{StateDirectory, Supervisor};

use super::settings_without_module;
use crate::ExitStatus;
use crate::failure::Failure;
use crate::printer::Printer;

/// Sets the marker. Once this has returned, no task is taken.
pub(crate) fn pause(printer: &Printer) -> Result<ExitStatus, Failure> {
    let directory = state_directory()?;
    let word = if PauseMarker::of(&directory).set()? { "paused" } else { "paused already" };
    let shown = directory.display();
    printer.output(&match StateDirectory::supervisor_of(&directory) {
        Some(supervisor) => format!(
            "{word}: the worker{} takes no more tasks, what runs goes on; state in {shown}",
            with_pid(supervisor)
        ),
        None => format!("{word}: no worker runs, the next one takes no tasks; state in {shown}"),
    });
    Ok(ExitStatus::Success)
}

/// Removes the marker.
pub(crate) fn resume(printer: &Printer) -> Result<ExitStatus, Failure> {
    let directory = state_directory()?;
    let word = if PauseMarker::of(&directory).remove()? { "resumed" } else { "not paused" };
    let shown = directory.display();
    printer.output(&match StateDirectory::supervisor_of(&directory) {
        Some(supervisor) => {
            format!("{word}: the worker{} takes tasks; state in {shown}", with_pid(supervisor))
        }
        None => format!("{word}: no worker runs; state in {shown}"),
    });
    Ok(ExitStatus::Success)
}

fn with_pid(supervisor: Supervisor) -> String {
    supervisor.pid.map(|pid| format!(" with pid {pid}")).unwrap_or_default()
}

fn state_directory() -> Result<PathBuf, Failure> {
    Ok(settings_without_module()?.state_dir)
}
