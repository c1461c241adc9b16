//! What supervisor and guardian tell each other: one JSON message a packet, descriptors beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Supervisor to guardian.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToGuardian {
    /// Start a process; its channel, standard output and standard error come with the packet.
    Spawn(SpawnRequest),
    /// Send `signal` to the process group of the process started under `token`.
    Kill { token: u64, signal: i32 },
    /// Send [`CANCEL_SIGNAL`] to the process started under `token` alone.
    Interrupt { token: u64 },
    /// Say whether anything lives that the process started under `token` has started.
    Look { token: u64 },
}

/// Tells an executor to look for an order to stop its body. Its default is to be ignored, so that it harms neither
/// an executor that still imports nor what a body starts.
pub const CANCEL_SIGNAL: nix::sys::signal::Signal = nix::sys::signal::Signal::SIGURG;

/// A process to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpawnRequest {
    /// The supervisor's number for this process, never reused.
    pub token: u64,
    /// Program to execute.
    pub program: String,
    /// Its arguments, without the program.
    pub arguments: Vec<String>,
    /// Variables set on top of the guardian's own environment.
    pub environment: Vec<(String, String)>,
}

/// Guardian to supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardianEvent {
    /// The process runs.
    Spawned {
        /// Token of the request.
        token: u64,
        /// Its process id, which is also its process group.
        pid: i32,
    },
    /// The process could not be started.
    Refused {
        /// Token of the request.
        token: u64,
        /// The system's reason.
        reason: String,
    },
    /// The answer to a look.
    Looked {
        /// Token of the process.
        token: u64,
        /// Whether it has started something that still lives.
        has_started: bool,
    },
    /// The process has ended.
    Exited {
        /// Token of the request.
        token: u64,
        /// How.
        status: ExitStatus,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// By itself, with this exit code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "exited with status {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(formatter, "was killed by {signal}"),
                Err(_) => write!(formatter, "was killed by signal {number}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExitStatus;

    #[test]
    fn a_death_is_named() {
        assert_eq!(ExitStatus::Code(3).to_string(), "exited with status 3");
        assert_eq!(ExitStatus::Signal(9).to_string(), "was killed by SIGKILL");
        assert_eq!(ExitStatus::Signal(63).to_string(), "was killed by signal 63");
    }
}
