//! `perago pause` and `perago resume`: whether the worker of a state directory takes tasks.

use std::path::PathBuf;

use perago_worker::operator::PauseMarker;
use perago_worker::state_directory::StateDirectory;

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
        Some(pid) => {
            format!(
                "{word}: the worker with pid {pid} takes no more tasks, what runs goes on; state in {shown}"
            )
        }
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
        Some(pid) => format!("{word}: the worker with pid {pid} takes tasks; state in {shown}"),
        None => format!("{word}: no worker runs; state in {shown}"),
    });
    Ok(ExitStatus::Success)
}

fn state_directory() -> Result<PathBuf, Failure> {
    Ok(settings_without_module()?.state_dir)
}
