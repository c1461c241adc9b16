//! The guardian: parent of every executor, so that none outlives the supervisor.
//!
//! It is forked off while the supervisor is still single-threaded, speaks with it over one socket, and is the
//! child subreaper of everything that executors start. When the supervisor dies, however it dies, that socket
//! ends, and the guardian kills every descendant before it exits. When the guardian dies, the executors'
//! parent-death signal does the same: it follows the parent *thread*, and the guardian has only one.

mod handle;
mod message;
pub(crate) mod processes;
mod serve;

pub use handle::{Guardian, GuardianError};
pub use message::{CANCEL_SIGNAL, ExitStatus, GuardianEvent, SpawnRequest};
pub use serve::{Forked, fork};
