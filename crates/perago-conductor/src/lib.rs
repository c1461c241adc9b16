//! Conductor's wire types and HTTP client.
//!
//! Owns how a request reaches the server and what an answer means: addresses, TLS, proxies, tokens, timeouts and
//! the classes of failure. It refuses to own policy: it never retries a request that may have reached the server
//! and never decides when to poll, beat or report.

mod address;
mod auth;
mod backoff;
mod client;
mod definitions;
mod error;
mod options;
mod reply;
mod secret;
mod tasks;
mod transport;
mod wire;
mod workflows;

pub use address::Address;
pub use backoff::Backoff;
pub use client::Client;
pub use error::{Error, ErrorKind};
pub use options::{ClientOptions, Credentials, ProxyOptions, WarningSink};
pub use secret::Secret;
pub use wire::{
    ResultStatus, Task, TaskLog, TaskResult, TaskSnapshot, TaskStatus, WorkflowRun, WorkflowStatus,
};
pub use workflows::StartWorkflow;
