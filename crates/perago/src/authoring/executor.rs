//! The executor: this binary, started again by the supervisor, running bodies of one task.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use perago_contract::{Finding, TaskDescription};
use perago_metrics::{ArenaWriter, LadderRules, Recorder, RecorderOptions, Rules};
use perago_worker::executor::channel::ExecutorChannel;
use perago_worker::executor::launch::{LAUNCH_VARIABLE, LaunchOptions};
use perago_worker::executor::message::{Assignment, FromExecutor, ToExecutor};

use super::attempts::{self, Running};
use super::body::{Input, Runnable};
use super::log::BodyLog;
use super::registered::{self, Registered};
use super::signals::{self, News};
use super::{Metrics, panics};
use crate::ExitStatus;
use crate::printer::Printer;

/// What makes this binary an executor; the variables alone would make one of every program that a body starts.
pub(super) const ARGUMENT: &str = "--perago-executor";

/// What the main thread of a process has on most systems: bodies get it on other threads too.
const STACK_BYTES: usize = 8 * 1024 * 1024;
/// The watcher only reads a message.
const WATCHER_STACK_BYTES: usize = 128 * 1024;

/// Runs bodies until the supervisor wants no more.
pub(super) fn main(tasks: &[Registered]) -> ExitStatus {
    match run(tasks) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            Printer::default().error(&format!("the executor cannot go on: {error}"), None);
            ExitStatus::Internal
        }
    }
}

fn run(tasks: &[Registered]) -> io::Result<()> {
    let launch = std::env::var(LAUNCH_VARIABLE).map_err(|_| {
        io::Error::new(io::ErrorKind::NotFound, "this process was not started as an executor")
    })?;
    let launch: LaunchOptions = serde_json::from_str(&launch)?;
    let channel = Arc::new(ExecutorChannel::from_environment(launch.results.clone())?);
    let news = signals::take_over()?;
    let Some(task) = tasks.iter().find(|task| task.name == launch.module_target) else {
        let message = format!("this binary has no task {}", launch.module_target);
        let finding = Finding::error("PERAGO-MODULE-NOT-FOUND", message);
        return channel.send(&FromExecutor::Unready(registered::refusal(&finding)?));
    };
    let description = task.describe();
    let constraints = match registered::constraints(&description) {
        Ok(constraints) => constraints,
        Err(finding) => return channel.send(&FromExecutor::Unready(registered::refusal(&finding)?)),
    };
    if launch.describe_only {
        return channel.send(&FromExecutor::Ready(registered::description(&description)?));
    }
    let log = BodyLog::Channel(Arc::clone(&channel));
    log.install();
    panics::install();
    let runnable = match task.open(launch.threads, constraints) {
        Ok(runnable) => runnable,
        Err(error) => {
            let finding = unusable(&description, &error.reason());
            return channel.send(&FromExecutor::Unready(registered::refusal(&finding)?));
        }
    };
    let metrics = Metrics::new(recorder(&launch, &description, &log)?);
    channel.send(&FromExecutor::Ready(registered::description(&description)?))?;
    let executor =
        Arc::new(Executor { channel, runnable, metrics, turn: Mutex::new(Turn { is_over: false }) });
    executor.serve(launch.threads, news)
}

/// A state that cannot be built is to a task what a failing import is to a Python module.
pub(super) fn unusable(task: &TaskDescription, reason: &str) -> Finding {
    let finding = Finding::error("PERAGO-MODULE-IMPORT", format!("the task cannot be set up: {reason}"));
    registered::placed(finding, task)
}

fn recorder(launch: &LaunchOptions, task: &TaskDescription, log: &BodyLog) -> io::Result<Option<Recorder>> {
    match &launch.arena {
        Some(arena) => open_recorder(Path::new(arena), task, &launch.resource_attribute_keys, log),
        None => Ok(None),
    }
}

/// The recorder of a task with metrics, into the arena at a path.
pub(super) fn open_recorder(
    arena: &Path,
    task: &TaskDescription,
    reserved_labels: &[String],
    log: &BodyLog,
) -> io::Result<Option<Recorder>> {
    let Some(spec) = &task.metrics else { return Ok(None) };
    let writer = ArenaWriter::open(arena).map_err(io::Error::other)?;
    let bounds = spec.buckets.iter().map(|(name, bounds)| (name.as_str(), bounds.as_slice()));
    let ladders = LadderRules::new(bounds).map_err(io::Error::other)?;
    let log = log.clone();
    let options = RecorderOptions {
        rules: Rules::new(&task.name, reserved_labels.iter().cloned()),
        ladders,
        ..RecorderOptions::new(&task.name, move |warning| log.metric_warning(warning))
    };
    Ok(Some(Recorder::new(writer, options)))
}

/// What the threads of an executor share.
struct Executor {
    channel: Arc<ExecutorChannel>,
    runnable: Arc<dyn Runnable>,
    metrics: Metrics,
    turn: Mutex<Turn>,
}

/// Held by the one thread that reads the channel.
struct Turn {
    is_over: bool,
}

impl Executor {
    fn serve(self: Arc<Self>, threads: u32, news: News) -> io::Result<()> {
        let watched = Arc::clone(&self);
        thread::Builder::new()
            .name("perago-watcher".to_owned())
            .stack_size(WATCHER_STACK_BYTES)
            .spawn(move || watched.watch(news))?;
        let others = (1..threads).map(|slot| {
            let executor = Arc::clone(&self);
            let named = thread::Builder::new().name(format!("perago-slot-{}", slot + 1));
            named.stack_size(STACK_BYTES).spawn(move || executor.take_turns())
        });
        let others: Vec<_> = others.collect::<io::Result<_>>()?;
        self.take_turns()?;
        for other in others {
            // Bodies do not unwind out of their thread, and what it said on the channel is known.
            let _ = other.join();
        }
        Ok(())
    }

    /// Runs one assignment after the other on this thread.
    fn take_turns(&self) -> io::Result<()> {
        while let Some((assignment, running)) = self.next()? {
            let input = Input {
                running,
                params: assignment.params.get(),
                workspace: assignment.workspace.clone(),
                metrics: self.metrics.clone(),
            };
            let ended = self.runnable.run(input);
            // Half a line would come with the next body. Nobody reads what cannot be written.
            let _ = io::stdout().flush();
            self.channel.send(&FromExecutor::Ended(Box::new(ended)))?;
        }
        Ok(())
    }

    /// Waits for the next assignment; `None` when the supervisor wants no more or is gone.
    fn next(&self) -> io::Result<Option<(Assignment, Running)>> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while !turn.is_over {
            match self.channel.receive()? {
                Some(ToExecutor::Assign(assignment)) => {
                    let running = attempts::expect(assignment.attempt);
                    return Ok(Some((*assignment, running)));
                }
                Some(ToExecutor::Cancel(attempt)) => attempts::cancel(attempt),
                Some(ToExecutor::Stop) | None => turn.is_over = true,
            }
        }
        Ok(None)
    }

    /// Looks for orders to stop a body whenever a signal says that there is one, while no other thread reads.
    fn watch(&self, mut news: News) {
        while news.wait().is_ok() {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            // A channel that has ended is noticed by whoever waits for the next assignment.
            for attempt in self.channel.cancelled().unwrap_or_default() {
                attempts::cancel(attempt);
            }
        }
    }
}
