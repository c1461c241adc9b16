//! `perago start`: a worker in the foreground.

use perago_worker::settings::{ExecutionMode, Settings, process_environment};
use perago_worker::state_directory::StateDirectory;
use perago_worker::worker::{self, Ready, Stopped, WorkerOptions};
use perago_worker::{guardian, overdue};

use super::check::{current_directory, print_warnings};
use crate::arguments::{Mode, StartOptions};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{ExitStatus, Host};

/// What the last line begins with that a worker prints once it polls; the path of its log follows.
pub(crate) const LOG_ANNOUNCEMENT: &str = "log: ";

/// Runs the worker until it is told to stop.
pub(crate) fn run(options: &StartOptions, host: &Host, printer: &Printer) -> Result<ExitStatus, Failure> {
    let module_target = &options.target.module;
    let mut settings = Settings::load(module_target, &current_directory(), &process_environment(), true)?;
    settings.health_listen = options.health_listen.or(settings.health_listen);
    if settings.conductor.is_none() {
        return Err(Failure::with_hint(
            "CONDUCTOR_SERVER_URL is required for perago start",
            Some(
                "for example CONDUCTOR_SERVER_URL=http://localhost:8080/api; perago dev runs such a server"
                    .into(),
            ),
        ));
    }
    let execution_mode = match options.execution_mode {
        Some(Mode::Process) => ExecutionMode::Process,
        Some(Mode::Thread) => ExecutionMode::Thread,
        None => settings.execution_mode,
    };
    let state = StateDirectory::open(&settings.state_dir, &settings.workspace_root)?;
    let forked = guardian::fork(state.guardian_lock()?)
        .map_err(|error| Failure::new(format!("the guardian process cannot be started: {error}")))?;
    overdue::watch(settings.shutdown_force_kill_after, ExitStatus::Forced.code()).map_err(|error| {
        Failure::new(format!("a thread cannot be started: {error}")).with_status(ExitStatus::Internal)
    })?;
    let options = WorkerOptions {
        module_target: module_target.clone(),
        slots: options.jobs,
        execution_mode,
        program: host.executor.clone(),
        settings,
        state_directory: state.path().to_owned(),
        glob_dialect: host.glob_dialect,
        on_ready: announce,
    };
    match worker::run(options, forked) {
        Ok(Stopped::Drained) => Ok(ExitStatus::Success),
        Ok(Stopped::Forced) => {
            printer.warning("stopped before everything that ran had ended");
            Ok(ExitStatus::Forced)
        }
        Err(error) => Err(error.into()),
    }
}

/// Says on standard error that the worker polls; standard output belongs to `PERAGO_LOG=stdout`.
fn announce(ready: &Ready) {
    let printer = Printer::default();
    print_warnings(&ready.warnings, &printer);
    let domain = ready.domain.as_ref().map(|domain| format!(" in domain {domain}")).unwrap_or_default();
    let slots = if ready.slots == 1 { "1 slot".to_owned() } else { format!("{} slots", ready.slots) };
    let doing = if ready.paused { "paused, not polling" } else { "polling" };
    printer.message(&format!(
        "{doing}: {}{domain} on {} with {slots} as {}",
        ready.task_name, ready.server, ready.worker_id
    ));
    if let Some(file) = &ready.log_file {
        printer.message(&format!("{LOG_ANNOUNCEMENT}{}", file.display()));
    }
}
