//! `perago extract`: a task's TaskDef as a file.

use std::fs;
use std::path::Path;

use perago_contract::to_pretty_ascii_json;

use super::check::check;
use crate::arguments::ExtractOptions;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{ExitStatus, Host};

/// Writes the file and prints its path.
pub(crate) fn run(options: &ExtractOptions, host: &Host, printer: &Printer) -> Result<ExitStatus, Failure> {
    check_output(&options.output)?;
    let checked = check(&options.target.module, host);
    checked.print_warnings(printer);
    let Some(task_def) = &checked.task_def else { return Err(Failure::of_findings(&checked.findings)) };
    if checked.has_errors() {
        return Err(Failure::of_findings(&checked.findings));
    }
    write(&options.output, &to_pretty_ascii_json(task_def))?;
    printer.output(&options.output.display().to_string());
    Ok(ExitStatus::Success)
}

fn check_output(path: &Path) -> Result<(), Failure> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Err(Failure::new(
            "output must be a JSON file path, for example generated/features.build.json",
        ));
    }
    if path.is_dir() {
        return Err(Failure::new("output must be a JSON file path, not a directory"));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
}
