//! The tasks of a binary, each behind one type.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::OnceLock;

use perago_contract::schema::transform;
use perago_contract::{Constraints, Finding, TaskDescription};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::runtime::{Builder, Runtime};

use super::TaskError;
use super::body::{Opened, Runnable, SetUp, Setting};
use super::panics;
use super::task::Task;

type Open = fn(u32, Option<Constraints>) -> Result<Arc<dyn Runnable>, TaskError>;

/// A task of the binary.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    /// Conductor's name of it.
    pub(super) name: String,
    describe: fn() -> TaskDescription,
    open: Open,
}

impl Registered {
    /// Takes a declared task.
    pub(super) fn of<T: Task>() -> Self {
        Self {
            name: T::declaration().name,
            describe: || (T::body().describe)(T::declaration()),
            open: open::<T>,
        }
    }

    /// What the task declares.
    pub(super) fn describe(&self) -> TaskDescription {
        (self.describe)()
    }

    /// Builds its state, for bodies of up to `threads` at once whose parameters keep to `constraints`; a panic is an error
    /// too.
    pub(super) fn open(
        &self,
        threads: u32,
        constraints: Option<Constraints>,
    ) -> Result<Arc<dyn Runnable>, TaskError> {
        match panics::noted(|| catch_unwind(AssertUnwindSafe(|| (self.open)(threads, constraints)))) {
            (Ok(opened), _) => opened,
            (Err(_), panic) => Err(TaskError::failed(panic.unwrap_or_default().reason())),
        }
    }
}

fn open<T: Task>(threads: u32, constraints: Option<Constraints>) -> Result<Arc<dyn Runnable>, TaskError> {
    let runtime = T::IS_ASYNC.then(|| runtime(threads)).transpose()?;
    let set_up = SetUp { runtime };
    let _entered = runtime.map(Runtime::enter);
    let task = T::set_up(&set_up)?;
    let setting = Setting { set_up, is_strict: T::declaration().strict_params, constraints };
    Ok(Arc::new(Opened { task, body: T::body(), setting }))
}

/// The runtime of what is awaited: one for all bodies, so that what a state keeps open lives between them.
fn runtime(threads: u32) -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads as usize)
        .thread_name("perago-async")
        .enable_all()
        .build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// What the TaskDef of a task asks of the values of its parameters.
///
/// # Errors
/// A finding, at the place of the task: a pattern that cannot be used, a schema that is none.
pub(super) fn constraints(task: &TaskDescription) -> Result<Option<Constraints>, Finding> {
    let schema = transform(&task.params_schema, !task.strict_params);
    schema.and_then(|schema| Constraints::of(&schema)).map_err(|error| placed(error.into_finding(), task))
}

/// A finding about a task, where the task stands.
pub(super) fn placed(mut finding: Finding, task: &TaskDescription) -> Finding {
    if let Some(source) = &task.source {
        finding.file = Some(source.file.clone());
        finding.line = Some(source.line);
    }
    finding
}

/// A task's description as an executor hands it over.
pub(super) fn description(task: &TaskDescription) -> serde_json::Result<Box<RawValue>> {
    to_raw_value(&json!({"task": task, "findings": [], "warnings": []}))
}

/// The description of a task that cannot be used.
pub(super) fn refusal(finding: &Finding) -> serde_json::Result<Box<RawValue>> {
    to_raw_value(&json!({"task": null, "findings": [finding], "warnings": []}))
}
