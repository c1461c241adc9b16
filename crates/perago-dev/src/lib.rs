//! Embedded services behind `perago dev`: a Conductor-compatible engine, a lakeFS-compatible store and an
//! OTLP metrics receiver.
//!
//! All listen on one port. [`DevServer::start`] returns once the port accepts connections:
//!
//! ```no_run
//! # async fn example() -> Result<(), perago_dev::DevError> {
//! let server = perago_dev::DevServer::start(perago_dev::DevOptions::default()).await?;
//! assert!(server.conductor_url().ends_with("/api"));
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod access;
pub mod engine;
pub mod faults;
mod http;
mod in_process;
mod server;
mod shared;
mod storage;
pub mod store;
mod telemetry;
pub mod testing;

pub use access::{ApiKey, StoreKey};
pub use engine::Retention;
pub use in_process::InProcess;
pub use server::{DevError, DevHandle, DevOptions, DevServer};
pub use storage::{ObjectStore, StorageError};
pub use telemetry::MetricSeries;
