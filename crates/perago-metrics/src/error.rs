//! The error type of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// Why an arena or a ladder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not an arena of this version.
    #[error("not a metrics arena of this version: {what}")]
    Foreign {
        /// The part that differs.
        what: &'static str,
    },
    /// A part of the arena does not match its checksum.
    #[error("damaged metrics arena: {what}")]
    Damaged {
        /// The damaged part.
        what: &'static str,
    },
    /// The bucket bounds are empty, too many, not ascending or not finite.
    #[error("bucket bounds must be 1 to 200 ascending finite numbers, got {bounds:?}")]
    Buckets {
        /// The bounds as given.
        bounds: Vec<f64>,
    },
}

impl Error {
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "PERAGO-METRICS-IO",
            Self::Foreign { .. } => "PERAGO-METRICS-FOREIGN",
            Self::Damaged { .. } => "PERAGO-METRICS-DAMAGED",
            Self::Buckets { .. } => "PERAGO-METRICS-BUCKETS",
        }
    }

    /// What the operator or author can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => {
                Some("free space on the volume of PERAGO_STATE_DIR")
            }
            Self::Io { .. } => Some("check the permissions of PERAGO_STATE_DIR"),
            Self::Foreign { .. } | Self::Damaged { .. } => {
                Some("the file is set aside when the worker starts; keep it for the report or delete it")
            }
            Self::Buckets { .. } => None,
        }
    }

    /// Whether the file should be set aside and made anew.
    pub fn is_unusable_file(&self) -> bool {
        matches!(self, Self::Foreign { .. } | Self::Damaged { .. })
    }
}
