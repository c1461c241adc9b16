//! Waiting for work on the runtime, until a signal ends the attempt.

use std::future::Future;
use std::io;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Halt;

/// SIGINT, SIGTERM and SIGHUP, and the runtime that notices them.
#[derive(Debug)]
pub(super) struct Stops<'a> {
    runtime: &'a Runtime,
    signals: [Signal; 3],
}

impl<'a> Stops<'a> {
    /// Takes the signals over.
    pub fn listen(runtime: &'a Runtime) -> io::Result<Self> {
        let _entered = runtime.enter();
        let signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { runtime, signals })
    }

    /// Does `work` on the runtime, unless one of the signals comes first.
    pub fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Halt> {
        let [interrupt, terminate, hangup] = &mut self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => Err(Halt::Stopped),
                _ = terminate.recv() => Err(Halt::Stopped),
                _ = hangup.recv() => Err(Halt::Stopped),
                done = work => Ok(done),
            }
        })
    }
}
