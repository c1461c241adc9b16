//! Snapshot to OTLP bytes, push loop, retry classes.
//!
//! An [`Exporter`] takes snapshots from a [`SnapshotSource`] and pushes them to one OTLP/HTTP endpoint; its
//! [`ExporterHandle`] flushes and ends it. Totals are cumulative, so a failed push loses nothing, and nothing here ever
//! reaches a task body.

mod encode;
mod error;
mod exporter;
mod push;
mod resource;
mod wire;

pub use encode::encode;
pub use error::{Error, PushFailure};
pub use exporter::{ExportEvent, Exporter, ExporterHandle, ExporterOptions, Secret, SnapshotSource};
pub use resource::{AttributesError, Resource, WorkerIdentity, parse_attributes};
