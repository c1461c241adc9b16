//! `perago run`: one attempt on the spot, without Conductor. Nothing is published.

mod body;
mod executor;
mod input;
mod metrics;
mod output_aside;
mod report;
mod stops;
mod workspace;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use perago_contract::{FailureCode, Finding, TaskDescription};
use perago_worker::attempt::outcome::refused_result;
use perago_worker::executor::message::{Ended, Outcome};
use perago_worker::settings::{Settings, process_environment};
use perago_workspace::{GuardPhase, RunDirectory};
use serde_json::value::RawValue;

use self::body::Body;
use self::input::Source;
use self::metrics::Scratch;
use self::report::Report;
use self::stops::Stops;
use self::workspace::{Pinned, Trouble, Workspace};
use super::check::{current_directory, print_warnings};
use crate::arguments::RunOptions;
use crate::describe::Described;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{ExitStatus, Host};

/// What a body finds in its environment, as in a worker of one slot.
const BODY_VARIABLES: [(&str, &str); 3] =
    [("PERAGO_SLOT", "1"), ("PERAGO_SLOTS", "1"), ("PERAGO_WORKER_ID", "perago-run")];
/// Work that was interrupted gets this long to notice.
const WORK_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Why there is nothing to report.
#[derive(Debug)]
enum Halt {
    /// A signal, or the user in the debugger.
    Stopped,
    /// The module cannot be used.
    Unusable(Vec<Finding>),
    /// The attempt cannot be made.
    Failed(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Runs one attempt and prints what came of it.
pub(crate) fn run(options: &RunOptions, host: &Host, printer: &Printer) -> Result<ExitStatus, Failure> {
    let params = input::params(&options.params)?;
    let source = Source::of(options)?;
    let mut scratch = Scratch::create()?;
    let mut folder = None;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    let mut stops = Stops::listen(&runtime).map_err(internal)?;
    let attempt = Attempt { options, host, printer, source };
    let outcome = attempt.make(params, &mut scratch, &mut folder, &mut stops);
    drop(stops);
    // What still writes into the folder ends before that is removed.
    runtime.shutdown_timeout(WORK_ENDS_WITHIN);
    drop(folder);
    match outcome {
        Ok(report) if options.json => Ok(report.print_json(printer)),
        Ok(report) => Ok(report.print_text(printer)),
        Err(Halt::Unusable(findings)) if options.json => Ok(Report::not_run(findings).print_json(printer)),
        Err(Halt::Unusable(findings)) => {
            print_warnings(&findings, printer);
            Err(Failure::of_findings(&findings))
        }
        Err(Halt::Failed(failure)) => Err(failure),
        Err(Halt::Stopped) => {
            printer.warning("stopped before the attempt had ended");
            Ok(ExitStatus::Forced)
        }
    }
}

/// What one attempt is made with.
struct Attempt<'a> {
    options: &'a RunOptions,
    host: &'a Host,
    printer: &'a Printer,
    source: Source,
}

impl Attempt<'_> {
    fn make(
        &self,
        params: Box<RawValue>,
        scratch: &mut Scratch,
        folder: &mut Option<RunDirectory>,
        stops: &mut Stops<'_>,
    ) -> Result<Report, Halt> {
        let mut body = Body::start(self.options, self.host, self.printer, scratch.arena(), stops)?;
        let (task, findings) = self.describe(&mut body, stops)?;
        self.source.check(&task)?;
        let mut report = Report { findings, ..Report::of_task(Some(&task.name)) };
        let mut workspace = match self.prepare(&task, folder, stops) {
            Ok(workspace) => workspace,
            Err(Trouble::Attempt(error)) => {
                report.fail_by_workspace(&error);
                return Ok(report);
            }
            Err(Trouble::Halted(halt)) => return Err(halt),
        };
        if let Some(workspace) = &workspace
            && let Err(error) = stops.wait(workspace.check(GuardPhase::Pre))?
        {
            report.fail_by_workspace(&error);
            report.workspace = Some(workspace.report().clone());
            return Ok(report);
        }
        let place = workspace.as_ref().map(Workspace::path);
        note(&mut report, body.run(params, place, scratch.arena(), stops)?);
        if let Some(workspace) = &mut workspace {
            look_at(workspace, &mut report, stops)?;
        }
        report.metrics = scratch.series(&task);
        body.stop(stops)?;
        Ok(report)
    }

    fn describe(
        &self,
        body: &mut Body<'_>,
        stops: &mut Stops<'_>,
    ) -> Result<(TaskDescription, Vec<Finding>), Halt> {
        let module_target = &self.options.target.module;
        let described = match body.describe(module_target, stops)? {
            ended @ Described::Ended(_) => {
                let findings = ended.read(module_target).err().map(Failure::into_finding);
                return Err(Halt::Unusable(findings.into_iter().collect()));
            }
            description @ Described::Description(_) => description.read(module_target)?,
        };
        let (task, findings) = described.usable_task().map_err(Halt::Unusable)?;
        if !self.options.json {
            print_warnings(&findings, self.printer);
        }
        Ok((task, findings))
    }

    /// Makes or opens the directory of a workspace task.
    fn prepare(
        &self,
        task: &TaskDescription,
        folder: &mut Option<RunDirectory>,
        stops: &mut Stops<'_>,
    ) -> Result<Option<Workspace>, Trouble> {
        let (Some(spec), dialect) = (&task.workspace, self.host.glob_dialect) else { return Ok(None) };
        let workspace = match &self.source {
            Source::None => return Ok(None),
            Source::Directory(path) => stops.wait(Workspace::open(path, spec, dialect))??,
            Source::Commit { repository, reference, keep } => {
                let (module_target, environment) = (&self.options.target.module, process_environment());
                let settings = Settings::load(module_target, &current_directory(), &environment, false)?;
                let pinned = Pinned { repository, reference, keep: *keep };
                stops.wait(Workspace::download(pinned, &settings, spec, dialect, folder, self.printer))??
            }
        };
        Ok(Some(workspace))
    }
}

/// Puts the end of the body into the report.
fn note(report: &mut Report, ended: Ended) {
    report.body_seconds = was_run(&ended).then_some(ended.body_seconds);
    match ended.outcome {
        Outcome::Completed(result) => match refused_result(&result) {
            Some(failure) => report.fail(failure, None),
            None => report.result = Some(result),
        },
        Outcome::Failed(failure) | Outcome::FailedWithTerminalError(failure) => {
            report.fail(failure, ended.exception);
        }
    }
}

/// Whether the body came to its own end: not if its parameters were refused, or its process died.
fn was_run(ended: &Ended) -> bool {
    let refused = [FailureCode::InputInvalid, FailureCode::ParamsInvalid, FailureCode::MetricsMissing];
    ended.body_seconds > 0.0
        && match &ended.outcome {
            Outcome::Completed(_) => true,
            Outcome::Failed(failure) | Outcome::FailedWithTerminalError(failure) => {
                !refused.iter().any(|code| code.code() == failure.code)
            }
        }
}

/// Checks and compares the directory that the body has left.
fn look_at(workspace: &mut Workspace, report: &mut Report, stops: &mut Stops<'_>) -> Result<(), Halt> {
    if report.failure.is_none()
        && let Err(error) = stops.wait(workspace.check(GuardPhase::Post))?
    {
        report.fail_by_workspace(&error);
    }
    if let Err(error) = stops.wait(workspace.compare())? {
        report.fail_by_workspace(&error);
    }
    report.workspace = Some(workspace.report().clone());
    Ok(())
}

/// The time, in seconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A failure of the system or of ours.
fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string()).with_status(ExitStatus::Internal)
}
