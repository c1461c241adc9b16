//! What an executor is started with.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::kill_point::KillAt;

/// The program that runs bodies of one authoring language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorProgram {
    /// Path of the program, for example the Python interpreter that runs the command line.
    pub program: String,
    /// Arguments that make it an executor.
    pub arguments: Vec<String>,
    /// The file that is all of its code, if there is one: the supervisor works its hash out while executors start. Any other
    /// executor says the hash itself.
    pub code: Option<PathBuf>,
}

/// Environment variable that carries the [`LaunchOptions`] as JSON.
pub const LAUNCH_VARIABLE: &str = "PERAGO_EXECUTOR_LAUNCH";

/// What an executor is told before it imports the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaunchOptions {
    /// The author's module: an import path.
    pub module_target: String,
    /// Describe the module and exit, or go on and run bodies.
    pub describe_only: bool,
    /// Bodies that run at once in this process: 1 in process mode, the number of slots in thread mode.
    pub threads: u32,
    /// The metrics arena of this slot, if metrics are exported.
    pub arena: Option<String>,
    /// Label keys that the exporter's resource attributes occupy.
    pub resource_attribute_keys: Vec<String>,
    /// Failure reasons are cut to this many characters.
    pub failure_reason_max_length: u64,
    /// Where outcomes are written before they are answered.
    #[serde(default)]
    pub results: Option<PathBuf>,
    /// Where the executor kills itself.
    #[serde(default)]
    pub kill_at: Option<KillAt>,
}

/// The ends of an executor's descriptors that the supervisor keeps and those that it gives away.
#[derive(Debug)]
pub struct Descriptors {
    /// The supervisor's end of the channel.
    pub channel: std::os::unix::net::UnixStream,
    /// Read end of the executor's standard output.
    pub output: std::io::PipeReader,
    /// Read end of the executor's standard error.
    pub errors: std::io::PipeReader,
    /// The executor's ends: channel, standard output, standard error.
    pub theirs: [OwnedFd; 3],
}

impl Descriptors {
    /// Makes a socket pair and two pipes, all close-on-exec.
    pub fn open() -> std::io::Result<Self> {
        let (channel, their_channel) = std::os::unix::net::UnixStream::pair()?;
        let (output, their_output) = std::io::pipe()?;
        let (errors, their_errors) = std::io::pipe()?;
        Ok(Self {
            channel,
            output,
            errors,
            theirs: [their_channel.into(), their_output.into(), their_errors.into()],
        })
    }
}
