//! The worker's log: JSON lines, one file a supervisor, rotated by size and deleted by age.

mod record;
mod rotate;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

pub use record::{Level, Record};
use rotate::RotatingFile;
pub use rotate::safe_segment;

/// Where the log goes.
#[derive(Debug, Clone)]
pub enum Destination {
    /// Standard output; no file is written.
    Stdout,
    /// Files below `<root>/<module target>/worker_id=<worker id>/`.
    Files {
        /// `PERAGO_LOG_ROOT`.
        root: PathBuf,
        /// A file is closed before it grows beyond this many bytes.
        max_bytes: u64,
        /// Files whose last line is older are deleted, whichever process wrote them.
        retention: Duration,
    },
}

/// A cheap handle to the worker's log.
#[derive(Debug, Clone)]
pub struct Logger {
    sink: Arc<Mutex<Sink>>,
    worker_id: Arc<str>,
}

#[derive(Debug)]
enum Sink {
    Stdout,
    File(RotatingFile),
    #[cfg(test)]
    Memory(Vec<serde_json::Value>),
}

impl Logger {
    /// Opens the log of one worker.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn open(destination: &Destination, module_target: &str, worker_id: &str) -> io::Result<Self> {
        let sink = match destination {
            Destination::Stdout => Sink::Stdout,
            Destination::Files { root, max_bytes, retention } => {
                let module_root = root.join(safe_segment(module_target));
                let folder = module_root.join(safe_segment(&format!("worker_id={worker_id}")));
                Sink::File(RotatingFile::open(module_root, folder, *max_bytes, *retention)?)
            }
        };
        Ok(Self { sink: Arc::new(Mutex::new(sink)), worker_id: worker_id.into() })
    }

    /// A logger that keeps its records, for tests.
    #[cfg(test)]
    pub(crate) fn memory() -> Self {
        Self { sink: Arc::new(Mutex::new(Sink::Memory(Vec::new()))), worker_id: "test".into() }
    }

    /// The records that a memory logger holds.
    #[cfg(test)]
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        match &*self.sink.lock().unwrap() {
            Sink::Memory(records) => records.clone(),
            _ => Vec::new(),
        }
    }

    /// The file that is written now, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        match &*self.sink.lock().unwrap_or_else(PoisonError::into_inner) {
            Sink::File(file) => Some(file.path().to_owned()),
            Sink::Stdout => None,
            #[cfg(test)]
            Sink::Memory(_) => None,
        }
    }

    /// Writes one record. A log that cannot be written never stops the work that it is about.
    pub fn write(&self, record: Record) {
        let value = record.into_json(&self.worker_id);
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *sink {
            #[cfg(test)]
            Sink::Memory(records) => records.push(value),
            Sink::Stdout => {
                let mut line = value.to_string();
                line.push('\n');
                let _ = io::stdout().lock().write_all(line.as_bytes());
            }
            Sink::File(file) => {
                let mut line = value.to_string();
                line.push('\n');
                file.append(line.as_bytes());
            }
        }
    }

    /// Writes a record of the worker itself.
    pub fn event(&self, level: Level, event: &'static str, message: impl Into<String>) {
        self.write(Record::new(level, event, message));
    }

    /// Deletes files that are older than the retention; called by the worker's timer.
    pub fn delete_expired(&self) {
        if let Sink::File(file) = &mut *self.sink.lock().unwrap_or_else(PoisonError::into_inner) {
            file.delete_expired(SystemTime::now());
        }
    }
}
