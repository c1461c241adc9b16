//! What a service manager is told: the datagrams of `sd_notify(3)`.
//!
//! Our own lines rather than a crate: those that exist send on a blocking socket and read the environment each time,
//! and a service manager that does not read must never hold the supervisor's loop.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::rc::Rc;
use std::time::Duration;

use crate::logs::{Level, Logger, Record};

/// The socket of the service manager.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// Microseconds within which it wants to hear of us (`sd_watchdog_enabled(3)`).
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// The process that it wants to hear of.
const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";

/// What must not reach executors and their children: they could speak for the worker.
pub(crate) const OWN_VARIABLES: [&str; 3] = [SOCKET_VARIABLE, WATCHDOG_VARIABLE, WATCHDOG_PID_VARIABLE];

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The service manager that the environment names. One that cannot be used is a warning in the log.
    pub fn from_environment(logger: &Logger) -> Self {
        let named = std::env::var_os(SOCKET_VARIABLE).filter(|name| !name.is_empty());
        let socket = named.and_then(|name| match open(&name) {
            Ok(opened) => Some(opened),
            Err(error) => {
                let message =
                    format!("{SOCKET_VARIABLE} cannot be used; the service manager is told nothing");
                logger.write(
                    Record::new(Level::Warning, "service_manager_unreachable", message)
                        .with("error", error.to_string()),
                );
                None
            }
        });
        let read = |name| std::env::var(name).ok();
        let watchdog = watchdog(
            read(WATCHDOG_VARIABLE).as_deref(),
            read(WATCHDOG_PID_VARIABLE).as_deref(),
            std::process::id(),
        );
        Self { socket, watchdog }
    }

    /// The worker is up.
    pub fn ready(&self, summary: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(summary)));
    }

    /// The worker ends.
    pub fn stopping(&self, summary: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", one_line(summary)));
    }

    /// One line for people.
    pub fn status(&self, summary: &str) {
        self.send(&format!("STATUS={}", one_line(summary)));
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            // A manager that restarts or does not keep up misses one; it must not hold the worker.
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

/// Shows the service manager at half the time that it allows that the supervisor's loop runs.
pub(super) async fn keep_watchdog_quiet(manager: Rc<ServiceManager>) {
    let Some(allowed) = manager.watchdog else { return };
    loop {
        manager.send("WATCHDOG=1");
        tokio::time::sleep(allowed / 2).await;
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            let message = "neither an absolute path nor the name of an abstract socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

fn watchdog(microseconds: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let allowed = microseconds?.parse().ok().map(Duration::from_micros)?;
    // Nobody means less, and the loop must have time for something else.
    (allowed >= Duration::from_millis(2)).then_some(allowed)
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let seconds = Some(Duration::from_secs(30));
        assert_eq!(watchdog(Some("30000000"), Some("7"), 7), seconds);
        assert_eq!(watchdog(Some("30000000"), None, 7), seconds);
        for (microseconds, pid) in
            [(Some("30000000"), Some("8")), (Some("x"), None), (Some("0"), None), (None, Some("7"))]
        {
            assert_eq!(watchdog(microseconds, pid, 7), None, "{microseconds:?} {pid:?}");
        }
    }

    #[test]
    fn both_kinds_of_sockets_are_reached() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("notify");
        let named = format!("perago-test-{}", std::process::id());
        let bound = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&named).unwrap()).unwrap(),
                format!("@{named}").into(),
            ),
        ];
        for (receiver, name) in bound {
            let manager = ServiceManager { socket: Some(open(&name).unwrap()), watchdog: None };
            manager.ready("two\nlines");
            let mut buffer = [0; 64];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=two lines");
        }
        assert!(open(OsStr::new("relative")).is_err());
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("notify");
        let _receiver = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager { socket: Some(open(path.as_os_str()).unwrap()), watchdog: None };
        // Far more than the queue of a datagram socket holds: a blocking send would never return.
        for _ in 0..10_000 {
            manager.status("still here");
        }
    }
}
