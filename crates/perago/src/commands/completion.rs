//! `perago completion`: a script for a shell.

use clap::CommandFactory as _;

use crate::ExitStatus;
use crate::arguments::{Arguments, CompletionOptions};
use crate::printer::Printer;

/// Prints the script.
pub(crate) fn run(options: &CompletionOptions, printer: &Printer) -> ExitStatus {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "perago", &mut script);
    printer.output(String::from_utf8_lossy(&script).trim_end());
    ExitStatus::Success
}
