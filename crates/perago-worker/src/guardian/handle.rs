//! The supervisor's side of the guardian.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::message::{GuardianEvent, SpawnRequest, ToGuardian};
use super::serve::{Forked, MAX_PACKET_BYTES, send_packet};

/// Why the guardian cannot be used.
#[derive(Debug, Error)]
pub enum GuardianError {
    /// The guardian has ended: no executor can be started any more, and those that ran are killed.
    #[error("the guardian process has ended")]
    Gone,
    /// The request does not fit a packet.
    #[error("a request of {0} bytes to the guardian is too long")]
    TooLong(usize),
    /// The system refused.
    #[error("the guardian cannot be reached: {0}")]
    System(#[from] Errno),
}

/// The connection to the guardian.
#[derive(Debug)]
pub struct Guardian {
    socket: AsyncFd<OwnedFd>,
    pid: Pid,
}

impl Guardian {
    /// Takes over a forked guardian. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub fn new(forked: Forked) -> std::io::Result<Self> {
        fcntl(&forked.socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // SAFETY: an `OwnedFd` names the same open socket for as long as it lives, and `AsyncFd` owns it.
        let socket = unsafe { AsyncFd::register(forked.socket) }?;
        Ok(Self { socket, pid: forked.pid })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Asks for a process that inherits `descriptors` as channel, standard output and standard error.
    pub async fn spawn(&self, request: SpawnRequest, descriptors: [RawFd; 3]) -> Result<(), GuardianError> {
        self.send(&ToGuardian::Spawn(request), &descriptors).await
    }

    /// Sends `signal` to the process group of a process that is not reaped yet; otherwise does nothing.
    pub async fn kill(&self, token: u64, signal: Signal) -> Result<(), GuardianError> {
        self.send(&ToGuardian::Kill { token, signal: signal as i32 }, &[]).await
    }

    /// Sends [`CANCEL_SIGNAL`](super::CANCEL_SIGNAL) to a process that is not reaped yet, and to no other.
    pub async fn interrupt(&self, token: u64) -> Result<(), GuardianError> {
        self.send(&ToGuardian::Interrupt { token }, &[]).await
    }

    /// Asks for a [`GuardianEvent::Looked`]; a process that has ended gets no answer.
    pub async fn look(&self, token: u64) -> Result<(), GuardianError> {
        self.send(&ToGuardian::Look { token }, &[]).await
    }

    /// Waits for the guardian's next event.
    ///
    /// # Errors
    /// [`GuardianError::Gone`] when it has ended.
    pub async fn event(&self) -> Result<GuardianEvent, GuardianError> {
        let mut buffer = vec![0_u8; MAX_PACKET_BYTES];
        let received = self
            .socket
            .async_io(Interest::READABLE, |socket| {
                recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(std::io::Error::from)
            })
            .await;
        match received {
            Ok(0) => Err(GuardianError::Gone),
            Ok(length) => serde_json::from_slice(&buffer[..length]).map_err(|_| GuardianError::Gone),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Ends the guardian, which kills what is left, and waits for it: a few milliseconds.
    pub fn close(&self) {
        let _ = shutdown(self.socket.get_ref().as_raw_fd(), Shutdown::Both);
        let _ = waitpid(self.pid, None);
    }

    async fn send(&self, message: &ToGuardian, descriptors: &[RawFd]) -> Result<(), GuardianError> {
        let packet = serde_json::to_vec(message).map_err(|_| GuardianError::Gone)?;
        if packet.len() > MAX_PACKET_BYTES {
            return Err(GuardianError::TooLong(packet.len()));
        }
        self.socket
            .async_io(Interest::WRITABLE, |socket| {
                send_packet(socket, &packet, descriptors).map_err(std::io::Error::from)
            })
            .await
            .map_err(|error| broken(&error))
    }
}

fn broken(error: &std::io::Error) -> GuardianError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) | None => GuardianError::Gone,
        Some(errno) => GuardianError::System(errno),
    }
}
