//! Why a worker could not start or go on.

use std::net::SocketAddr;
use std::time::Duration;

use perago_conductor::Error as ConductorError;
use perago_contract::Finding;
use thiserror::Error;

use crate::guardian::GuardianError;
use crate::metrics::MetricsError;
use crate::outbox::JournalError;
use crate::settings::SettingsError;

/// Why a worker could not start or go on.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The module cannot be used.
    #[error("the module cannot be used")]
    Module(Vec<Finding>),
    /// The first executor ended before it had imported the module.
    #[error("the executor process {how} while it imported the module{last_lines}")]
    ExecutorDied {
        /// Exit code or signal.
        how: String,
        /// The last lines of its standard error, on lines of their own.
        last_lines: String,
    },
    /// No executor became ready in time.
    #[error("{module_target} was not imported within {} s", limit.as_secs())]
    ImportTooSlow {
        /// The author's module.
        module_target: String,
        /// `PERAGO_EXECUTOR_READY_TIMEOUT`.
        limit: Duration,
    },
    /// An executor could not be started.
    #[error("the executor process cannot be started: {0}")]
    ExecutorRefused(String),
    /// The executor said something that is not a description.
    #[error("the executor's description of the module is not understood: {0}")]
    Description(String),
    /// Something that this task needs is not configured.
    #[error("{0}")]
    Missing(String),
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The TaskDef is not on the server.
    #[error("Conductor TaskDef '{0}' is not registered; run perago extract and register it before start")]
    NotRegistered(String),
    /// The server could not be asked for the TaskDef.
    #[error("failed to validate Conductor TaskDef: {0}")]
    TaskDef(ConductorError),
    /// The client could not be made.
    #[error("{0}")]
    Client(ConductorError),
    /// lakeFS refuses this worker, or its address cannot be used.
    #[error("{0}")]
    LakeFs(perago_lakefs::Error),
    /// What is owed to the server cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The metrics files could not be made.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The log could not be opened.
    #[error("the log cannot be written: {0}")]
    Log(std::io::Error),
    /// Nobody can ask for the worker's health where it should be asked.
    #[error("the health endpoint cannot listen on {address}: {reason}")]
    HealthListen {
        /// `--health-listen`.
        address: SocketAddr,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The guardian ended.
    #[error("the worker cannot go on: {0}")]
    Guardian(#[from] GuardianError),
    /// The system refused.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl WorkerError {
    /// Whether the fault lies in the worker rather than in what it was given.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Guardian(_) | Self::System(_) | Self::Description(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TaskDef(error) | Self::Client(error) => error.hint().map(str::to_owned),
            Self::LakeFs(error) => error.hint().map(str::to_owned),
            Self::NotRegistered(_) => {
                Some("POST the file to /api/metadata/taskdefs as a one-element array".into())
            }
            Self::Journal(error) => Some(error.hint().to_owned()),
            Self::Settings(error) => error.hint().map(str::to_owned),
            Self::Metrics(error) => error.hint().map(str::to_owned),
            Self::HealthListen { .. } => Some(
                "give an address of this host and a free port with --health-listen or PERAGO_HEALTH_LISTEN"
                    .into(),
            ),
            Self::ImportTooSlow { .. } => {
                Some("raise PERAGO_EXECUTOR_READY_TIMEOUT if it needs longer".into())
            }
            _ => None,
        }
    }
}
