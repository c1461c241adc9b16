//! Conductor's wire types and HTTP client.
//!
//! Owns what a request says and what an answer means: tokens, timeouts and the classes of failure; connections are
//! those of `perago-http`. It refuses to own policy: it never retries a request that may have reached the server
//! and never decides when to poll, beat or report.

mod auth;
mod client;
mod definitions;
mod error;
mod in_process;
mod options;
mod reply;
mod tasks;
mod transport;
mod wire;
mod workflows;

pub use client::Client;
pub use error::{Error, ErrorKind};
pub use in_process::{Answer, InProcessServer};
pub use options::{ClientOptions, Credentials};
pub use perago_http::{Address, AddressError, Backoff, ExchangeFailure, ProxyOptions, Secret, WarningSink};
pub use wire::{
    ResultStatus, Task, TaskLog, TaskResult, TaskSnapshot, TaskStatus, WorkflowRun, WorkflowStatus,
};
pub use workflows::StartWorkflow;
