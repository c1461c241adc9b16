//! `perago pause`: a marker in the state directory, so that it holds for whoever works there, also after a restart.

use std::cell::Cell;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use thiserror::Error;

use super::LOOK_EVERY;
use crate::logs::{Level, Logger};

/// An empty file: making one needs no block of a full disk.
const MARKER: &str = "paused";

/// The marker cannot be made, removed or seen.
#[derive(Debug, Error)]
#[error("{} cannot be used: {reason}", path.display())]
pub struct PauseError {
    path: PathBuf,
    reason: io::Error,
}

impl PauseError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "run it as the user of the worker, with the worker's PERAGO_STATE_DIR or PERAGO_WORKSPACE_ROOT"
    }
}

/// The marker of one state directory.
#[derive(Debug, Clone)]
pub struct PauseMarker(PathBuf);

impl PauseMarker {
    /// The marker of the state directory at `state_directory`, set or not.
    pub fn of(state_directory: &Path) -> Self {
        Self(state_directory.join(MARKER))
    }

    /// Sets the marker durably, and makes the state directory when there is none. Returns whether it was not set.
    ///
    /// # Errors
    /// The system's reason.
    pub fn set(&self) -> Result<bool, PauseError> {
        let attempt = || {
            let folder = self.folder();
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            match File::options().write(true).create_new(true).mode(0o600).open(&self.0) {
                Ok(_) => File::open(folder)?.sync_all().map(|()| true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        };
        attempt().map_err(|reason| self.error(reason))
    }

    /// Removes the marker durably. Returns whether it was set.
    ///
    /// # Errors
    /// The system's reason.
    pub fn remove(&self) -> Result<bool, PauseError> {
        match fs::remove_file(&self.0) {
            Ok(()) => File::open(self.folder()).and_then(|folder| folder.sync_all()).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
        .map_err(|reason| self.error(reason))
    }

    /// For how long the marker is set; `None` when it is not.
    ///
    /// # Errors
    /// The system's reason.
    pub fn age(&self) -> Result<Option<Duration>, PauseError> {
        match fs::metadata(&self.0).and_then(|metadata| metadata.modified()) {
            // A clock that was set back makes it new rather than unset.
            Ok(set_at) => Ok(Some(SystemTime::now().duration_since(set_at).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(error)),
        }
    }

    fn folder(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new("/"))
    }

    fn error(&self, reason: io::Error) -> PauseError {
        PauseError { path: self.0.clone(), reason }
    }
}

/// A running worker's view of its marker. Copies share it.
#[derive(Debug, Clone)]
pub struct Pause(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    marker: PauseMarker,
    logger: Logger,
    is_paused: Cell<bool>,
}

impl Pause {
    /// Looks at the marker of a state directory for the first time.
    pub fn new(state_directory: &Path, logger: &Logger) -> Self {
        let marker = PauseMarker::of(state_directory);
        let is_paused = marker.0.exists();
        Self(Rc::new(Inner { marker, logger: logger.clone(), is_paused: Cell::new(is_paused) }))
    }

    /// Whether the worker was paused at the last look.
    pub fn is_paused(&self) -> bool {
        self.0.is_paused.get()
    }

    /// Looks at the marker: no task is taken from the moment at which `perago pause` has returned.
    pub fn look(&self) -> bool {
        // A disk that does not answer changes nothing.
        let is_paused = self.0.marker.0.try_exists().unwrap_or(self.is_paused());
        match (self.0.is_paused.replace(is_paused), is_paused) {
            (false, true) => {
                let message = "paused by perago pause; takes no more tasks, what runs goes on";
                self.0.logger.event(Level::Info, "worker_paused", message);
            }
            (true, false) => {
                self.0.logger.event(Level::Info, "worker_resumed", "takes tasks again");
            }
            _ => {}
        }
        is_paused
    }

    /// Waits until the worker is not paused; returns at once when it is not.
    pub async fn lifted(&self) {
        while self.look() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_marker_is_set_once_and_removed_once() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("not").join("yet");
        let marker = PauseMarker::of(&state);
        assert_eq!(marker.age().unwrap(), None);
        assert!(!marker.remove().unwrap());
        assert!(!state.exists(), "looking made a directory");
        assert!(marker.set().unwrap());
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!marker.set().unwrap());
        assert!(marker.age().unwrap().is_some());
        assert!(marker.remove().unwrap());
        assert_eq!(marker.age().unwrap(), None);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = PauseMarker::of(&file).set().unwrap_err();
        assert!(error.to_string().starts_with(&file.display().to_string()), "{error}");
        assert!(PauseMarker::of(&file).age().is_err());
    }
}
