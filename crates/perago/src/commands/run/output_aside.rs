//! Standard output for one JSON object alone, although a body runs in this process.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// While this lives, what this process writes to standard output goes to standard error.
#[derive(Debug)]
pub(super) struct OutputAside(OwnedFd);

impl OutputAside {
    /// Sends standard output aside.
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain system calls on descriptors of this process; the new one is owned from here on.
        unsafe {
            let kept = libc::fcntl(libc::STDOUT_FILENO, libc::F_DUPFD_CLOEXEC, 3);
            if kept == -1 {
                return Err(io::Error::last_os_error());
            }
            let kept = OwnedFd::from_raw_fd(kept);
            if libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(kept))
        }
    }
}

impl Drop for OutputAside {
    fn drop(&mut self) {
        // SAFETY: a plain system call; both descriptors are open.
        unsafe {
            libc::dup2(self.0.as_raw_fd(), libc::STDOUT_FILENO);
        }
    }
}
