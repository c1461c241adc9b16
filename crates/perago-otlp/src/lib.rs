//! Snapshot to OTLP bytes, push loop, retry classes.
//!
//! An [`Exporter`] takes snapshots from a [`SnapshotSource`] and pushes them to one OTLP/HTTP endpoint; its
//! [`ExporterHandle`] flushes and ends it. Totals are cumulative, so a failed push loses nothing, and nothing here ever
//! reaches a task body.

mod delivery;
mod encode;
mod error;
mod exporter;
mod push;
mod resource;
mod wire;

pub use encode::encode;
pub use error::{Error, PushFailure};
pub use exporter::{ExportEvent, Exporter, ExporterHandle, ExporterOptions, SnapshotSource};
pub use perago_http::{ProxyOptions, Secret};
pub use push::check_endpoint;
pub use resource::{Resource, WorkerIdentity, changes_with_every_start};
