//! The demo's own temporary folder, so that nothing of the user's is read or written.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::Failure;

/// Holds songs, logs and state; removed when dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Folder {
    directory: TempDir,
    kept: Cell<bool>,
}

impl Folder {
    /// Makes the folder in the system's place for temporary files.
    pub fn create() -> Result<Self, Failure> {
        let refused = |error: std::io::Error| {
            Failure::with_hint(
                format!("no temporary folder can be made: {error}"),
                Some("set TMPDIR to a directory that can be written".to_owned()),
            )
        };
        let directory = tempfile::Builder::new().prefix("perago-demo-").tempdir().map_err(refused)?;
        let this = Self { directory, kept: Cell::new(false) };
        for made in [this.songs(), this.logs(), this.elsewhere()] {
            fs::create_dir(made).map_err(refused)?;
        }
        Ok(this)
    }

    /// Where the songs are.
    pub fn songs(&self) -> PathBuf {
        self.path().join("songs")
    }

    /// `PERAGO_LOG_ROOT` of the workers, and what they say on standard error.
    pub fn logs(&self) -> PathBuf {
        self.path().join("logs")
    }

    /// The workers' current directory: empty, so that no `.env` changes them.
    pub fn elsewhere(&self) -> PathBuf {
        self.path().join("empty")
    }

    /// `PERAGO_WORKSPACE_CACHE_DIR`, which the workers share.
    pub fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    /// A worker's directory for a purpose.
    pub fn of_worker(&self, purpose: &str, task_name: &str) -> PathBuf {
        self.path().join(purpose).join(task_name)
    }

    /// Leaves the folder where it is; returns its path.
    pub fn keep(&self) -> &Path {
        self.kept.set(true);
        self.path()
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.kept.get() {
            self.directory.disable_cleanup(true);
        }
    }
}
