//! The signals of an executor: those that stop a worker are for its supervisor, one says that the channel has news.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

use perago_worker::guardian::CANCEL_SIGNAL;

/// A service manager sends these to every process of the worker; the supervisor lets running bodies end.
const LEFT_TO_THE_SUPERVISOR: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

static NEWS: AtomicI32 = AtomicI32::new(-1);

extern "C" fn ignore(_: libc::c_int) {}

extern "C" fn tell(_: libc::c_int) {
    // SAFETY: `write` is async-signal-safe; the descriptor was made for this and stays open. A full socket says enough.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(NEWS.load(Ordering::Relaxed), [0_u8].as_ptr().cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Where the signals that say that the channel has news arrive.
#[derive(Debug)]
pub(super) struct News(UnixStream);

impl News {
    /// Waits for the next one.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let mut told = [0_u8; 64];
        self.0.read(&mut told).map(drop)
    }
}

/// Takes the signals over, and lets all of them in: the process that starts executors blocks some.
///
/// Handlers, unlike what is ignored, are not inherited by programs that a body executes.
pub(super) fn take_over() -> io::Result<News> {
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    debug_assert!(theirs.as_raw_fd() >= 0);
    NEWS.store(theirs.into_raw_fd(), Ordering::Relaxed);
    for signal in LEFT_TO_THE_SUPERVISOR {
        handle(signal, ignore)?;
    }
    handle(CANCEL_SIGNAL as libc::c_int, tell)?;
    // SAFETY: the set is initialised before it is used; this thread is the only one.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    Ok(News(ours))
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: all of the action that matters is set; the handler does what a handler may.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if installed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
