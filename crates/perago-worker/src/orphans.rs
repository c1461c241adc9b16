//! The duty of a container's first process: to collect whoever loses its parent.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_local;

const FIRST_PROCESS: u32 = 1;

/// Collects every process that ends as our child, for as long as the runtime lives, if this is the first process of its
/// process namespace. What executors start belongs to the guardian; what comes here was started from outside, such as by
/// a probe or `docker exec`. Needs a `LocalSet`.
///
/// # Errors
/// When the system refuses a handler.
pub(crate) fn collect_as_first_process() -> std::io::Result<()> {
    if std::process::id() != FIRST_PROCESS {
        return Ok(());
    }
    let mut ended = signal(SignalKind::child())?;
    spawn_local(async move {
        loop {
            collect();
            if ended.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(())
}

/// The guardian is collected here too; that it has ended is known by its socket.
fn collect() {
    while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
}
