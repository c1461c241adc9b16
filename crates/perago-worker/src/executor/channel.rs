//! The executor's end of its channel, blocking: what a language binding reads assignments from.

use std::collections::HashMap;
use std::io;
use std::os::fd::{FromRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::frame;
use super::message::{Assignment, Ended, FromExecutor, ToExecutor};
use super::result_file::{AttemptId, ResultFile};

/// Environment variable that names the channel's descriptor to the executor.
pub const CHANNEL_VARIABLE: &str = "PERAGO_EXECUTOR_CHANNEL";

/// The executor's end of the channel. Shared by all threads of the executor.
#[derive(Debug)]
pub struct ExecutorChannel {
    reader: Mutex<UnixStream>,
    writer: Mutex<UnixStream>,
    results: Option<Results>,
}

/// Where outcomes are written, and whose they are.
#[derive(Debug)]
struct Results {
    directory: PathBuf,
    running: Mutex<HashMap<u64, Running>>,
}

#[derive(Debug)]
struct Running {
    id: AttemptId,
    slot: u32,
}

impl Results {
    fn begin(&self, assignment: &Assignment) {
        let running = Running { id: AttemptId::of(assignment), slot: assignment.slot };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(assignment.attempt, running);
    }

    /// What cannot be written, for example on a full disk, still reaches a supervisor that lives.
    fn end(&self, ended: &Ended) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&ended.attempt);
        if let Some(Running { id, slot }) = running
            && let Ok(file) = ResultFile::open(&self.directory, slot)
        {
            let _ = file.write(&id, ended);
        }
    }
}

impl ExecutorChannel {
    /// Takes over the descriptor named by [`CHANNEL_VARIABLE`], and marks it close-on-exec: programs that a body
    /// starts must not hold it. Outcomes are written below `results` before they are sent.
    ///
    /// # Errors
    /// When the variable does not hold a descriptor number, or that descriptor is not open.
    pub fn from_environment(results: Option<PathBuf>) -> io::Result<Self> {
        let text = std::env::var(CHANNEL_VARIABLE)
            .map_err(|_| io::Error::new(io::ErrorKind::NotFound, format!("{CHANNEL_VARIABLE} is not set")))?;
        let descriptor: RawFd = text.parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{CHANNEL_VARIABLE} is not a number"))
        })?;
        // SAFETY: the variable is set by the supervisor for exactly this process, which owns the descriptor; the
        // fcntl below fails if it is not open.
        let stream = unsafe { UnixStream::from_raw_fd(descriptor) };
        fcntl(&stream, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io::Error::from)?;
        let results = results.map(|directory| Results { directory, running: Mutex::default() });
        Ok(Self { writer: Mutex::new(stream.try_clone()?), reader: Mutex::new(stream), results })
    }

    /// Waits for the next message; `None` when the supervisor is gone.
    ///
    /// An assignment is acknowledged before it is returned: one that a dying process never read can be given to
    /// another.
    pub fn receive(&self) -> io::Result<Option<ToExecutor>> {
        let message = frame::read(&mut *self.reader.lock().unwrap_or_else(PoisonError::into_inner))?;
        if let Some(ToExecutor::Assign(assignment)) = &message {
            if let Some(results) = &self.results {
                results.begin(assignment);
            }
            self.send(&FromExecutor::Started(assignment.attempt))?;
        }
        Ok(message)
    }

    /// Sends one message whole, whichever threads send at the same time.
    pub fn send(&self, message: &FromExecutor) -> io::Result<()> {
        if let (Some(results), FromExecutor::Ended(ended)) = (&self.results, message) {
            results.end(ended);
        }
        frame::write(&mut *self.writer.lock().unwrap_or_else(PoisonError::into_inner), message)
    }
}
