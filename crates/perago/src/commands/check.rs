//! `perago check`: everything about a module and the configuration that can be known without a server.

use std::collections::BTreeMap;
use std::path::Path;

use perago_contract::{ContractError, Finding, Severity};
use perago_worker::settings::{Settings, process_environment};
use serde_json::{Value, json};

use crate::arguments::{CheckOptions, Format};
use crate::describe::describe;
use crate::failure::{Failure, placed};
use crate::printer::Printer;
use crate::{ExitStatus, Host};

/// What a check found.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Name of the task, when there is one.
    pub task_name: Option<String>,
    /// Errors and warnings, of the settings first.
    pub findings: Vec<Finding>,
    /// The TaskDef, when it can be computed.
    pub task_def: Option<Value>,
    /// The lines about the configuration.
    pub summary: Vec<(&'static str, String)>,
}

impl Checked {
    /// Whether anything found is an error.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }

    /// Prints the warnings to standard error.
    pub fn print_warnings(&self, printer: &Printer) {
        print_warnings(&self.findings, printer);
    }
}

/// Prints the warnings among `findings` to standard error.
pub(crate) fn print_warnings(findings: &[Finding], printer: &Printer) {
    for finding in findings.iter().filter(|finding| !finding.is_error()) {
        printer.warning(&match &finding.hint {
            Some(hint) => format!("{}\n  hint: {hint}", placed(finding)),
            None => placed(finding),
        });
    }
}

/// Checks `module_target` in the current directory.
pub(crate) fn check(module_target: &str, host: &Host) -> Checked {
    check_in(module_target, host, &process_environment())
}

fn check_in(module_target: &str, host: &Host, environment: &BTreeMap<String, String>) -> Checked {
    let mut findings = Vec::new();
    let mut summary = Vec::new();
    match Settings::load_collecting(module_target, &current_directory(), environment, true) {
        Ok(settings) => {
            summary = settings.summary();
            findings.extend(settings.warnings);
        }
        Err(errors) => {
            findings.extend(errors.into_iter().map(|error| error.finding()));
            findings.extend(Settings::environment_warnings(&current_directory(), environment));
        }
    }
    let described = match describe(host, module_target) {
        Ok(described) => described,
        Err(failure) => {
            findings.push(failure.into_finding());
            return Checked { task_name: None, findings, task_def: None, summary };
        }
    };
    findings.extend(described.findings);
    let task_name = described.task.as_ref().map(|task| task.name.clone());
    let task_def = described.task.and_then(|task| match task.task_def() {
        Ok(task_def) => Some(task_def),
        Err(error) => {
            add_once(&mut findings, error);
            None
        }
    });
    Checked { task_name, findings, task_def, summary }
}

fn add_once(findings: &mut Vec<Finding>, error: ContractError) {
    let finding = error.into_finding();
    if !findings.iter().any(|known| known.code == finding.code && known.message == finding.message) {
        findings.push(finding);
    }
}

/// The TaskDef of a module as `perago extract` computes it, whatever the settings are.
pub(crate) fn task_def_of(module_target: &str, host: &Host) -> Result<Value, Failure> {
    let described = describe(host, module_target)?;
    match described.task {
        Some(task) if !described.findings.iter().any(Finding::is_error) => Ok(task.task_def()?),
        _ => Err(Failure::of_findings(&described.findings)),
    }
}

/// Prints what was found.
pub(crate) fn run(options: &CheckOptions, host: &Host, printer: &Printer) -> Result<ExitStatus, Failure> {
    let checked = check(&options.target.module, host);
    let status = if checked.has_errors() { ExitStatus::Failure } else { ExitStatus::Success };
    if options.format == Format::Json {
        printer.output(&as_json(&checked));
        return Ok(status);
    }
    checked.print_warnings(printer);
    if checked.has_errors() {
        return Err(Failure::of_findings(&checked.findings));
    }
    printer.output(&format!("ok: {}", checked.task_name.as_deref().unwrap_or_default()));
    for (name, value) in &checked.summary {
        printer.output(&format!("{name}: {value}"));
    }
    Ok(status)
}

fn as_json(checked: &Checked) -> String {
    let errors = checked.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let configuration: serde_json::Map<String, Value> =
        checked.summary.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    let document = json!({
        "ok": errors == 0,
        "task": checked.task_name,
        "findings": checked.findings,
        "configuration": configuration,
        "task_def": checked.task_def,
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// The directory whose `.env` counts.
pub(crate) fn current_directory() -> std::path::PathBuf {
    std::env::current_dir().unwrap_or_else(|_| Path::new(".").to_owned())
}
