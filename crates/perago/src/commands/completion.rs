//! `perago completion`: a script for a shell.

use crate::arguments::CompletionOptions;
use crate::printer::Printer;
use crate::{ExitStatus, Host, grammar};

/// Prints the script.
pub(crate) fn run(options: &CompletionOptions, host: &Host, printer: &Printer) -> ExitStatus {
    let mut script = Vec::new();
    let mut command = grammar::command(host, std::env::args_os().next().as_deref());
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    printer.output(String::from_utf8_lossy(&script).trim_end());
    ExitStatus::Success
}
