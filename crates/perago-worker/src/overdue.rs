//! Ends a worker that was told to stop and cannot: a disk that hangs may hold the supervisor's only thread for ever.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use tokio::task::LocalSet;

use crate::signals::Signals;

/// A supervisor that is told twice ends within milliseconds, if it can.
const STOPS_NOW_WITHIN: Duration = Duration::from_secs(2);

/// From now on the process exits with `code` when `limit` has passed since the first signal, or two seconds since the
/// second, whatever its other threads do. Its guardian sees to everything that it has started.
///
/// # Errors
/// The system refuses the thread.
pub fn watch(limit: Option<Duration>, code: u8) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("perago-overdue".to_owned()).spawn(move || {
        if LocalSet::new().block_on(&runtime, overdue(limit)).is_ok() {
            // SAFETY: nothing of the process is used any more. What runs at a normal exit could hang as well.
            unsafe { libc::_exit(code.into()) }
        }
    })?;
    // The kernel would hand signals to the thread that began the process first, also while a disk holds it.
    let mut taken_over = SigSet::empty();
    taken_over.extend([Signal::SIGTERM, Signal::SIGINT]);
    Ok(taken_over.thread_block()?)
}

async fn overdue(limit: Option<Duration>) -> io::Result<()> {
    let signals = Signals::listen()?;
    let deadline = async {
        signals.stop_requested().await;
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let told_twice = async {
        signals.stop_now_requested().await;
        tokio::time::sleep(STOPS_NOW_WITHIN).await;
    };
    tokio::select! {
        () = deadline => {}
        () = told_twice => {}
    }
    Ok(())
}
