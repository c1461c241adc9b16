//! `perago gc`: removes what dead attempts have left, or shows it.

use perago_worker::workspace::{Fate, Kind, Leftover, Sweep, SweepOptions, sweep};
use serde_json::json;

use super::check::current_directory;
use super::settings_without_module;
use crate::ExitStatus;
use crate::arguments::GcOptions;
use crate::failure::Failure;
use crate::printer::Printer;

/// Looks once, removes what is dead and prints what became of everything.
pub(crate) fn run(options: &GcOptions, printer: &Printer) -> Result<ExitStatus, Failure> {
    let sweeping = sweep_options(options, printer)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(error.to_string()).with_status(ExitStatus::Internal))?;
    let mut swept = runtime.block_on(sweep(&sweeping));
    if !options.repositories.is_empty() {
        let missing = swept.missing_repositories.iter();
        swept.failures.extend(missing.map(|name| format!("repository {name} does not exist")));
    }
    if options.json {
        printer.output(&as_json(&swept, &sweeping));
    } else {
        print(&swept, options.dry_run, printer);
    }
    let is_complete = swept.failures.is_empty() && swept.count(Fate::Failed) == 0;
    Ok(if is_complete { ExitStatus::Success } else { ExitStatus::Failure })
}

fn sweep_options(options: &GcOptions, printer: &Printer) -> Result<SweepOptions, Failure> {
    let mut sweeping = SweepOptions::of_settings(&settings_without_module()?, &current_directory())?;
    if sweeping.lakefs.is_none() {
        if !options.repositories.is_empty() {
            return Err(Failure::new("--repository needs lakeFS, which is not configured"));
        }
        printer.warning("staging branches are not looked at, because lakeFS is not configured");
    }
    if !options.repositories.is_empty() {
        sweeping.repositories.clone_from(&options.repositories);
    }
    if let Some(age) = options.older_than {
        (sweeping.older_than, sweeping.abandoned_older_than) = (age, age);
    }
    sweeping.is_dry_run = options.dry_run;
    Ok(sweeping)
}

fn print(swept: &Sweep, is_dry_run: bool, printer: &Printer) {
    let removed = if is_dry_run { "would remove" } else { "removed" };
    for leftover in &swept.leftovers {
        let reason = leftover.explanation.as_deref().unwrap_or_default();
        match leftover.fate {
            Fate::Removed => printer.output(&format!("{removed} {}", named(leftover))),
            Fate::Kept => printer.output(&format!("kept {}, because {reason}", named(leftover))),
            Fate::Failed => printer.error(&format!("{} stays: {reason}", named(leftover)), None),
        }
    }
    for failure in &swept.failures {
        printer.error(failure, None);
    }
    if swept.leftovers.iter().any(|leftover| leftover.is_for_a_person) {
        printer.warning(
            "Conductor will never speak for some of what is kept; remove it by hand if its attempt is over",
        );
    }
    printer.output(&format!(
        "{removed} {}, kept {}, failed {}",
        swept.count(Fate::Removed),
        swept.count(Fate::Kept),
        swept.count(Fate::Failed)
    ));
}

fn named(leftover: &Leftover) -> String {
    let place = match (&leftover.kind, &leftover.repository) {
        (Kind::Branch, Some(repository)) => format!("branch {} of {repository}", leftover.name),
        (Kind::Branch, None) => format!("branch {}", leftover.name),
        (Kind::Directory, _) => format!("directory {}", leftover.name),
    };
    let Some(task) = &leftover.task_id else { return place };
    let run = leftover.workflow_instance_id.as_ref().map(|run| format!(" of run {run}"));
    format!("{place} (task {task}{})", run.unwrap_or_default())
}

fn as_json(swept: &Sweep, sweeping: &SweepOptions) -> String {
    let document = json!({
        "dry_run": sweeping.is_dry_run,
        "older_than_seconds": sweeping.older_than.as_secs(),
        "workspace_root": sweeping.root.display().to_string(),
        "repositories": sweeping.repositories,
        "leftovers": swept.leftovers,
        "failures": swept.failures,
        "totals": {
            "removed": swept.count(Fate::Removed),
            "kept": swept.count(Fate::Kept),
            "failed": swept.count(Fate::Failed),
        },
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}
