//! The executor's end of its channel, blocking: what a language binding reads assignments from.

use std::io;
use std::os::fd::{FromRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::frame;
use super::message::{FromExecutor, ToExecutor};

/// Environment variable that names the channel's descriptor to the executor.
pub const CHANNEL_VARIABLE: &str = "PERAGO_EXECUTOR_CHANNEL";

/// The executor's end of the channel. Shared by all threads of the executor.
#[derive(Debug)]
pub struct ExecutorChannel {
    reader: Mutex<UnixStream>,
    writer: Mutex<UnixStream>,
}

impl ExecutorChannel {
    /// Takes over the descriptor named by [`CHANNEL_VARIABLE`], and marks it close-on-exec: programs that a body
    /// starts must not hold it.
    ///
    /// # Errors
    /// When the variable does not hold a descriptor number, or that descriptor is not open.
    pub fn from_environment() -> io::Result<Self> {
        let text = std::env::var(CHANNEL_VARIABLE)
            .map_err(|_| io::Error::new(io::ErrorKind::NotFound, format!("{CHANNEL_VARIABLE} is not set")))?;
        let descriptor: RawFd = text.parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{CHANNEL_VARIABLE} is not a number"))
        })?;
        // SAFETY: the variable is set by the supervisor for exactly this process, which owns the descriptor; the
        // fcntl below fails if it is not open.
        let stream = unsafe { UnixStream::from_raw_fd(descriptor) };
        fcntl(&stream, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io::Error::from)?;
        Ok(Self { writer: Mutex::new(stream.try_clone()?), reader: Mutex::new(stream) })
    }

    /// Waits for the next message; `None` when the supervisor is gone.
    ///
    /// An assignment is acknowledged before it is returned: one that a dying process never read can be given to
    /// another.
    pub fn receive(&self) -> io::Result<Option<ToExecutor>> {
        let message = frame::read(&mut *self.reader.lock().unwrap_or_else(PoisonError::into_inner))?;
        if let Some(ToExecutor::Assign(assignment)) = &message {
            self.send(&FromExecutor::Started(assignment.attempt))?;
        }
        Ok(message)
    }

    /// Sends one message whole, whichever threads send at the same time.
    pub fn send(&self, message: &FromExecutor) -> io::Result<()> {
        frame::write(&mut *self.writer.lock().unwrap_or_else(PoisonError::into_inner), message)
    }
}
