//! Task workers in Rust: what authors write, and the executor that runs it.
//!
//! Owns the authors' types, the boundary between JSON and theirs, and the executor's loop. It refuses to know servers:
//! the supervisor of `perago-worker` owns those, in a process that never runs a body.

mod attempts;
mod body;
mod cancellation;
mod error;
mod executor;
mod finite;
mod in_process;
mod log;
mod metrics;
mod panics;
mod params;
pub mod private;
mod refusal;
mod registered;
mod schema;
mod signals;
mod task;
pub mod testing;
mod worker;
mod workspace;

pub use cancellation::{Cancellation, Cancelled, cancellation};
pub use error::{TaskError, TerminalError};
pub use metrics::{Gauge, Histogram, Metrics, Number, Timer, TimerHandle};
pub use worker::{Worker, WorkerBuilder};
pub use workspace::{Workspace, WorkspacePathError};
