//! A binary of tasks: its command line, and the executors that it starts of itself.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use perago_worker::executor::launch::ExecutorProgram;

use super::executor;
use super::in_process::InProcess;
use super::registered::Registered;
use super::task::Task;
use crate::{ExitStatus, GlobDialect, Host, Targets};

/// The program that runs now, even if its file was replaced or removed since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A binary of tasks. [`main!`](crate::main) is the short form.
///
/// ```no_run
/// # #[derive(serde::Deserialize, schemars::JsonSchema)]
/// # struct Params {}
/// # #[derive(serde::Serialize, schemars::JsonSchema)]
/// # struct Output {}
/// #[perago::task(name = "songs.count", owner_email = "ops@example.com")]
/// fn count(params: Params) -> Result<Output, perago::TaskError> {
///     # let _ = params;
///     Ok(Output {})
/// }
///
/// fn main() -> std::process::ExitCode {
///     perago::Worker::builder().task::<count>().build().run()
/// }
/// ```
#[derive(Debug)]
pub struct Worker {
    tasks: Vec<Registered>,
}

/// Collects the tasks of a [`Worker`].
///
/// ```
/// # #[derive(serde::Deserialize, schemars::JsonSchema)]
/// # struct Params {}
/// # #[derive(serde::Serialize, schemars::JsonSchema)]
/// # struct Output {}
/// #[perago::task(name = "songs.count", owner_email = "ops@example.com")]
/// fn count(_: Params) -> Result<Output, perago::TaskError> {
///     Ok(Output {})
/// }
///
/// let worker: perago::Worker = perago::Worker::builder().task::<count>().build();
/// # drop(worker);
/// ```
#[derive(Debug, Default)]
pub struct WorkerBuilder {
    tasks: Vec<Registered>,
}

impl Worker {
    /// A worker without tasks, to add some to.
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    /// Runs the command line that this process was started with. Call it first of all in `main`: `start` forks, which
    /// a process with several threads must not.
    pub fn run(self) -> ExitCode {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let status = if arguments.get(1).is_some_and(|argument| argument == executor::ARGUMENT) {
            executor::main(&self.tasks)
        } else {
            self.command_line(arguments)
        };
        ExitCode::from(status.code())
    }

    fn command_line(self, arguments: Vec<OsString>) -> ExitStatus {
        let host = Host {
            executor: ExecutorProgram {
                program: THIS_PROGRAM.to_owned(),
                arguments: vec![executor::ARGUMENT.to_owned()],
                code: Some(THIS_PROGRAM.into()),
            },
            targets: Targets::Tasks(self.tasks.iter().map(|task| task.name.clone()).collect()),
            interpreter: Arc::new(InProcess::new(self.tasks)),
            glob_dialect: GlobDialect::default(),
            demo: None,
        };
        crate::run(arguments, &host)
    }
}

impl WorkerBuilder {
    /// Adds a task: the name of a function, or the type, that `#[perago::task]` stands on.
    #[must_use]
    pub fn task<T: Task>(mut self) -> Self {
        self.tasks.push(Registered::of::<T>());
        self
    }

    /// The worker of these tasks.
    pub fn build(self) -> Worker {
        Worker { tasks: self.tasks }
    }
}

/// Writes the `main` function of a binary of tasks: the whole command line, for the tasks that are named.
///
/// ```
/// # #[derive(serde::Deserialize, schemars::JsonSchema)]
/// # struct Params {}
/// # #[derive(serde::Serialize, schemars::JsonSchema)]
/// # struct Output {}
/// # mod program {
/// # use super::{Params, Output};
/// #[perago::task(name = "songs.count", owner_email = "ops@example.com")]
/// fn count(params: Params) -> Result<Output, perago::TaskError> {
///     # let _ = params;
///     Ok(Output {})
/// }
///
/// perago::main!(count);
/// # }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! main {
    ($($($part:ident)::+),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            let worker = $crate::Worker::builder();
            $(let worker = $crate::__add_task!(worker, $($part)::+);)+
            worker.build().run()
        }
    };
    ($($task:path),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::Worker::builder()$(.task::<$task>())+.build().run()
        }
    };
}

/// Adds a task by its name. A function without the attribute has no type of its name: the one of the glob import takes its
/// place, so that the compiler says what is missing instead of what a type is.
#[doc(hidden)]
#[macro_export]
macro_rules! __add_task {
    (@ $worker:ident [$($path:tt)+] $task:ident) => {{
        mod plain {
            mod function {
                #[allow(non_camel_case_types, dead_code)]
                pub struct $task {}
            }
            #[allow(unused_imports)]
            pub use function::$task as PeragoTask;
        }
        #[allow(unused_imports)]
        use plain::*;
        use $($path)+ as PeragoTask;
        $worker.task::<PeragoTask>()
    }};
    (@ $worker:ident $path:tt $module:ident :: $($rest:tt)+) => {
        $crate::__add_task!(@ $worker $path $($rest)+)
    };
    ($worker:ident, $($path:tt)+) => {
        $crate::__add_task!(@ $worker [$($path)+] $($path)+)
    };
}
