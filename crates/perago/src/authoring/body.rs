//! One attempt in this process: parameters as JSON in, the result as JSON or a named failure out.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use perago_contract::{Constraints, FailureCode};
use perago_worker::executor::message::{Ended, Failure, Outcome};
use serde_json::value::{RawValue, to_raw_value};
use tokio::runtime::Runtime;

use super::attempts::{self, Running};
use super::finite::non_finite_place;
use super::panics;
use super::task::{Body, Task, TaskOutput, TaskParams};
use super::{Cancellation, Cancelled, Metrics, TaskError, Workspace, params};

/// What a state is built with.
#[derive(Debug, Clone, Copy)]
pub struct SetUp {
    /// Drives what is awaited; it lives as long as the process.
    pub(super) runtime: Option<&'static Runtime>,
}

impl SetUp {
    /// Waits for an `async` constructor.
    pub fn block_on<T>(&self, building: impl Future<Output = T>) -> T {
        self.runtime().block_on(building)
    }

    fn runtime(self) -> &'static Runtime {
        self.runtime.expect("a task that awaits is opened with a runtime")
    }
}

/// One call of a body.
#[derive(Debug)]
pub struct Call<P> {
    params: P,
    caller: Caller,
}

/// A call without its parameters.
#[derive(Debug)]
pub struct Caller {
    workspace: Option<PathBuf>,
    metrics: Metrics,
    set_up: SetUp,
    cancellation: Cancellation,
}

impl<P> Call<P> {
    /// The directory of a workspace task.
    ///
    /// # Errors
    /// There is none.
    pub fn workspace(&self) -> Result<Workspace, TaskError> {
        let root = self.caller.workspace.clone();
        root.map(Workspace::at).ok_or_else(|| TaskError::failed("a workspace task was given no workspace"))
    }

    /// The recorder of a task with metrics.
    pub fn metrics(&self) -> Metrics {
        self.caller.metrics.clone()
    }

    /// The parameters, and what the body is awaited with.
    pub fn into_params(self) -> (Caller, P) {
        (self.caller, self.params)
    }
}

impl Caller {
    /// Waits for an `async` body. One that has not asked for its token is dropped when the attempt is cancelled.
    ///
    /// # Errors
    /// The attempt was cancelled.
    pub fn block_on<T>(&self, body: impl Future<Output = T>) -> Result<T, TaskError> {
        self.set_up.runtime().block_on(async {
            tokio::select! {
                biased;
                () = self.cancellation.drops_body() => Err(TaskError::from(Cancelled)),
                returned = body => Ok(returned),
            }
        })
    }
}

/// What an attempt is given.
#[derive(Debug)]
pub struct Input<'a> {
    /// The attempt, already noted.
    pub(super) running: Running,
    /// The parameters as JSON.
    pub(super) params: &'a str,
    /// The directory of a workspace task.
    pub(super) workspace: Option<PathBuf>,
    /// The recorder.
    pub(super) metrics: Metrics,
}

/// How a task's bodies are run.
#[derive(Debug)]
pub struct Setting {
    pub(super) set_up: SetUp,
    /// Whether unknown fields of the parameters are refused.
    pub(super) is_strict: bool,
    /// What the schema of the parameters asks of their values.
    pub(super) constraints: Option<Constraints>,
}

/// A task whose state is built.
pub(super) trait Runnable: Send + Sync {
    /// Runs one attempt on this thread.
    fn run(&self, input: Input<'_>) -> Ended;
}

/// A task with its state.
pub(super) struct Opened<T> {
    pub(super) task: T,
    pub(super) body: Body<T>,
    pub(super) setting: Setting,
}

impl<T: Task> Runnable for Opened<T> {
    fn run(&self, input: Input<'_>) -> Ended {
        (self.body.run)(&self.task, input, &self.setting)
    }
}

/// Reads the parameters, calls the body and writes its result.
pub(super) fn attempt<P: TaskParams, O: TaskOutput>(
    input: Input<'_>,
    setting: &Setting,
    body: impl FnOnce(Call<P>) -> Result<O, TaskError>,
) -> Ended {
    let Input { running, params, workspace, metrics } = input;
    let attempt = running.attempt;
    let cancellation = running.cancellation.clone();
    let _ran = attempts::begin(running);
    let params: P = match params::read(params, setting.is_strict, setting.constraints.as_ref()) {
        Ok(params) => params,
        Err(failure) => return ended(attempt, Outcome::Failed(failure), 0.0, None),
    };
    let set_up = setting.set_up;
    let _entered = set_up.runtime.map(Runtime::enter);
    let call = Call { params, caller: Caller { workspace, metrics, set_up, cancellation } };
    let began = Instant::now();
    // A state whose body has panicked goes on, as it would behind a lock that is not poisoned.
    let returned = panics::noted(|| catch_unwind(AssertUnwindSafe(|| body(call))));
    let seconds = began.elapsed().as_secs_f64();
    match returned {
        (Ok(Ok(output)), _) => {
            let outcome = written(&output).map_or_else(Outcome::Failed, Outcome::Completed);
            ended(attempt, outcome, seconds, None)
        }
        (Ok(Err(error)), _) => {
            let failure = Failure { code: error.code().code().to_owned(), reason: error.reason() };
            let outcome = if error.is_terminal() {
                Outcome::FailedWithTerminalError(failure)
            } else {
                Outcome::Failed(failure)
            };
            ended(attempt, outcome, seconds, Some(error.details()))
        }
        (Err(_), panic) => {
            let panic = panic.unwrap_or_default();
            let code = FailureCode::BodyRaised.code().to_owned();
            let outcome = Outcome::Failed(Failure { code, reason: panic.reason() });
            ended(attempt, outcome, seconds, Some(panic.details()))
        }
    }
}

fn ended(attempt: u64, outcome: Outcome, body_seconds: f64, exception: Option<String>) -> Ended {
    Ended { attempt, outcome, body_seconds, exception }
}

/// A result as JSON.
fn written<O: TaskOutput>(output: &O) -> Result<Box<RawValue>, Failure> {
    let refused = |reason| Failure { code: FailureCode::ResultNotJson.code().to_owned(), reason };
    let document = to_raw_value(output).map_err(|error| refused(format!("result: {error}")))?;
    // NaN is written as null; looking for it costs as much as writing, and is only done where it can hide.
    if document.get().contains("null")
        && let Some(place) = non_finite_place("result", output)
    {
        return Err(refused(format!("{place}: NaN and infinity have no JSON form")));
    }
    Ok(document)
}
