//! Where executors live: processes below the guardian, or what a simulation puts in their place.

use std::fmt;
use std::io::{self, PipeReader};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::launch::Descriptors;
use crate::guardian::{Guardian, GuardianError, GuardianEvent, SpawnRequest};

/// What a host does for the pool; boxed, as executors start and end seldom.
pub type HostFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Starts, signals and watches executors.
pub trait ExecutorHost: fmt::Debug {
    /// Starts an executor; an event tells when it runs, and later how it has ended.
    fn spawn(&self, request: SpawnRequest) -> HostFuture<'_, io::Result<Connected>>;

    /// Sends a signal to an executor and everything in its group; nothing happens when it has ended.
    fn kill(&self, token: u64, signal: Signal) -> HostFuture<'_, ()>;

    /// Makes an executor look at its messages while a body runs.
    fn interrupt(&self, token: u64) -> HostFuture<'_, ()>;

    /// Asks for a [`GuardianEvent::Looked`]; an executor that has ended gets no answer.
    fn look(&self, token: u64) -> HostFuture<'_, ()>;

    /// Waits for the next event; none is lost when the future is dropped.
    fn event(&self) -> HostFuture<'_, Result<GuardianEvent, GuardianError>>;

    /// Returns the process below which all executors live; none when they are no processes.
    fn ancestor(&self) -> Option<i32>;

    /// Ends the host with everything that is left.
    fn close(&self);
}

/// The supervisor's ends of an executor's channels.
pub struct Connected {
    /// Frames of the executor.
    pub reader: Box<dyn AsyncRead + Unpin>,
    /// Frames to it.
    pub writer: Box<dyn AsyncWrite + Unpin>,
    /// Its standard output and standard error.
    pub output: Option<[PipeReader; 2]>,
}

impl ExecutorHost for Guardian {
    fn spawn(&self, request: SpawnRequest) -> HostFuture<'_, io::Result<Connected>> {
        Box::pin(async move {
            let descriptors = Descriptors::open()?;
            descriptors.channel.set_nonblocking(true)?;
            let theirs = [0, 1, 2].map(|at: usize| descriptors.theirs[at].as_raw_fd());
            Guardian::spawn(self, request, theirs).await.map_err(io::Error::other)?;
            let (reader, writer) = UnixStream::from_std(descriptors.channel)?.into_split();
            Ok(Connected {
                reader: Box::new(reader),
                writer: Box::new(writer),
                output: Some([descriptors.output, descriptors.errors]),
            })
        })
    }

    fn kill(&self, token: u64, signal: Signal) -> HostFuture<'_, ()> {
        // A guardian that is gone is seen by whoever waits for its events.
        Box::pin(async move { drop(Guardian::kill(self, token, signal).await) })
    }

    fn interrupt(&self, token: u64) -> HostFuture<'_, ()> {
        Box::pin(async move { drop(Guardian::interrupt(self, token).await) })
    }

    fn look(&self, token: u64) -> HostFuture<'_, ()> {
        Box::pin(async move { drop(Guardian::look(self, token).await) })
    }

    fn event(&self) -> HostFuture<'_, Result<GuardianEvent, GuardianError>> {
        Box::pin(Guardian::event(self))
    }

    fn ancestor(&self) -> Option<i32> {
        Some(self.pid())
    }

    fn close(&self) {
        Guardian::close(self);
    }
}
