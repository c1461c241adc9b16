//! An executor as a child of the command line: no supervisor, no guardian, one channel.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use perago_worker::executor::channel::CHANNEL_VARIABLE;
use perago_worker::executor::launch::{LAUNCH_VARIABLE, LaunchOptions};

use crate::Host;

/// A command that starts an executor, and our end of its channel. The other end closes with the command.
///
/// What it prints behind our back goes to standard error, so that it never mixes with our output. It dies with the
/// thread that starts it.
pub(crate) fn executor_command(host: &Host, launch: &LaunchOptions) -> io::Result<(Command, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs);
    let mut command = Command::new(&host.executor.program);
    command
        .args(&host.executor.arguments)
        .env(LAUNCH_VARIABLE, serde_json::to_string(launch)?)
        .env(CHANNEL_VARIABLE, theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()));
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            if libc::fcntl(theirs.as_raw_fd(), libc::F_SETFD, 0) == -1
                || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == -1
            {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    Ok((command, ours))
}
