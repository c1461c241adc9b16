//! Recorder, series registry, histograms and the shared-memory arena.
//!
//! The supervisor makes one [`ArenaFile`] for each executor slot and keeps them in an [`ArenaStore`]; an executor maps
//! its file with an [`ArenaWriter`] and records through a [`Recorder`]; the store reads all of them into one
//! [`Snapshot`]. Totals live in the files and outlive both. This crate knows nothing of HTTP, of an async runtime or
//! of Python.

mod admission;
mod arena;
mod catalogue;
mod checker;
mod clock;
mod crash;
mod epoch;
mod error;
mod file;
mod fork;
mod ladder;
mod layout;
mod ledger;
mod lookup;
mod mapping;
mod reader;
mod recorder;
mod rules;
mod series;
mod shard;
mod snapshot;
mod store;
mod totals;
mod warning;
mod writer;

pub use checker::Checker;
pub use clock::{monotonic_nanos, unix_nanos};
pub use error::Error;
pub use file::ArenaFile;
pub use ladder::{EXPONENTIAL_BOUNDS, EXPONENTIAL_SCALE, Form, Ladder, LadderRules, MAX_BOUNDS};
pub use layout::ArenaOptions;
pub use reader::ArenaReader;
pub use recorder::{
    CounterHandle, DEFAULT_LABEL_SETS, GaugeHandle, HistogramHandle, Recorder, RecorderOptions, Resolved,
    Series,
};
pub use rules::{
    APPLICATION_PREFIX, Label, MAX_KEY, MAX_NAME, OVERFLOW_LABEL, RUNTIME_PREFIX, Rules, WORKER_PREFIX,
};
pub use series::{Kind, SeriesKey};
pub use snapshot::{HistogramTotal, Point, Snapshot, Value};
pub use store::{ArenaStore, StoreEvent, StoreOptions};
pub use warning::{MetricWarning, REASONS, Reason, WarningSink};
pub use writer::ArenaWriter;
