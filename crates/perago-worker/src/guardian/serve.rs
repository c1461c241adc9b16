//! The guardian's own side: fork, serve, and kill what is left.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, setsid};

use super::message::{CANCEL_SIGNAL, ExitStatus, GuardianEvent, SpawnRequest, ToGuardian};
use super::processes;
use crate::executor::channel::CHANNEL_VARIABLE;
use crate::operator::SERVICE_MANAGER_VARIABLES;

/// The largest packet either side sends, in bytes; the environment goes by inheritance, not in the packet.
pub(super) const MAX_PACKET_BYTES: usize = 64 * 1024;

const DESCRIPTORS_OF_A_SPAWN: usize = 3;
const RETRY_KILL_EVERY: Duration = Duration::from_millis(2);

/// The supervisor's end of a freshly forked guardian.
#[derive(Debug)]
pub struct Forked {
    pub(super) socket: OwnedFd,
    pub(super) pid: Pid,
}

/// Forks the guardian. Call it before any thread is started: only the calling thread exists in the child.
///
/// The guardian keeps `lock`, an advisory lock that the caller has taken, for as long as a process of ours may
/// live, so that a successor can wait for the end of what this supervisor leaves behind.
///
/// # Errors
/// The system's error when the socket pair or the process cannot be made.
#[expect(clippy::needless_pass_by_value, reason = "the parent must give its copy of the descriptor up")]
pub fn fork(lock: File) -> std::io::Result<Forked> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the caller has no other thread, so the child may use the allocator and the standard library.
    match unsafe { nix::unistd::fork() }? {
        // Closing our copy of the lock's descriptor leaves the guardian's, and with it the lock.
        ForkResult::Parent { child } => Ok(Forked { socket: ours, pid: child }),
        ForkResult::Child => {
            drop(ours);
            let code = i32::from(serve(&theirs, &lock).is_err());
            // SAFETY: ends the child at once; running the parent's exit handlers here would be wrong.
            unsafe { libc::_exit(code) }
        }
    }
}

fn serve(socket: &OwnedFd, _held: &File) -> nix::Result<()> {
    let _ = setsid();
    prctl::set_child_subreaper(true)?;
    let _ = prctl::set_name(c"perago-guardian");
    // Only the socket's end stops the guardian: a signal meant for the whole group must not, or a drain would
    // lose its executors. They are blocked rather than ignored because executors inherit what is ignored.
    let mut blocked = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        blocked.add(signal);
    }
    blocked.thread_set_mask()?;
    let mut children_only = SigSet::empty();
    children_only.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&children_only, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    let mut children = HashMap::new();
    let mut buffer = vec![0_u8; MAX_PACKET_BYTES];
    let outcome = loop {
        let mut ready =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => break Err(errno),
        }
        while let Ok(Some(_)) = signals.read_signal() {}
        reap(socket, &mut children);
        let readable = ready[0].revents().is_some_and(|events| !events.is_empty());
        if readable {
            match receive(socket, &mut buffer) {
                Ok(Some((message, descriptors))) => handle(socket, &mut children, message, descriptors),
                Ok(None) => break Ok(()),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => break Err(errno),
            }
        }
    };
    kill_descendants();
    outcome
}

/// Reads one packet with its descriptors; `None` when the supervisor is gone.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Option<(ToGuardian, Vec<OwnedFd>)>> {
    let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS_OF_A_SPAWN]);
    let mut slices = [IoSliceMut::new(buffer)];
    let packet =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let length = packet.bytes;
    let mut descriptors = Vec::new();
    for message in packet.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = message {
            // SAFETY: the kernel has just installed these descriptors for us; nobody else owns them.
            descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if length == 0 {
        return Ok(None);
    }
    match serde_json::from_slice(&buffer[..length]) {
        Ok(message) => Ok(Some((message, descriptors))),
        Err(_) => Err(Errno::EPROTO),
    }
}

fn handle(
    socket: &OwnedFd,
    children: &mut HashMap<i32, u64>,
    message: ToGuardian,
    descriptors: Vec<OwnedFd>,
) {
    match message {
        ToGuardian::Spawn(request) => {
            let token = request.token;
            let event = match spawn(&request, descriptors) {
                Ok(pid) => {
                    children.insert(pid, token);
                    GuardianEvent::Spawned { token, pid }
                }
                Err(error) => GuardianEvent::Refused { token, reason: error.to_string() },
            };
            report(socket, &event);
        }
        ToGuardian::Kill { token, signal } => match (child_of(children, token), Signal::try_from(signal)) {
            (Some(pid), Ok(Signal::SIGKILL)) => {
                let started = processes::below(pid);
                let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
                processes::kill_all(&started);
                processes::kill_started_by(token);
            }
            (Some(pid), Ok(signal)) => {
                let _ = kill(Pid::from_raw(-pid), signal);
            }
            _ => {}
        },
        ToGuardian::Interrupt { token } => {
            if let Some(pid) = child_of(children, token) {
                let _ = kill(Pid::from_raw(pid), CANCEL_SIGNAL);
            }
        }
        ToGuardian::Look { token } => {
            if let Some(pid) = child_of(children, token) {
                let has_started = processes::has_started(pid, token);
                report(socket, &GuardianEvent::Looked { token, has_started });
            }
        }
    }
}

/// The child that was started under `token`. Only one that is not reaped yet is signalled: its process id cannot have
/// been reused.
fn child_of(children: &HashMap<i32, u64>, token: u64) -> Option<i32> {
    children.iter().find(|(_, known)| **known == token).map(|(pid, _)| *pid)
}

fn spawn(request: &SpawnRequest, descriptors: Vec<OwnedFd>) -> std::io::Result<i32> {
    let Ok([channel, output, errors]) = <[OwnedFd; DESCRIPTORS_OF_A_SPAWN]>::try_from(descriptors) else {
        return Err(std::io::Error::from(Errno::EPROTO));
    };
    let inherited = channel.as_raw_fd();
    let mut command = Command::new(&request.program);
    command
        .args(&request.arguments)
        .envs(request.environment.iter().map(|(name, value)| (name, value)))
        .env(CHANNEL_VARIABLE, inherited.to_string())
        .env(processes::TOKEN_VARIABLE, request.token.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .process_group(0);
    for name in SERVICE_MANAGER_VARIABLES {
        command.env_remove(name);
    }
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            if libc::fcntl(inherited, libc::F_SETFD, 0) == -1
                || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == -1
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    Ok(command.spawn()?.id() as i32)
}

/// Collects every ended child. Orphans of executors are ours too, and have no token.
fn reap(socket: &OwnedFd, children: &mut HashMap<i32, u64>) {
    loop {
        let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, ExitStatus::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, ExitStatus::Signal(signal as i32)),
            _ => return,
        };
        if let Some(token) = children.remove(&pid.as_raw()) {
            // First of all, so that no further task is given to it.
            report(socket, &GuardianEvent::Exited { token, status });
            // What the executor started must not outlive it.
            let _ = kill(Pid::from_raw(-pid.as_raw()), Signal::SIGKILL);
            processes::kill_started_by(token);
        }
    }
}

fn report(socket: &OwnedFd, event: &GuardianEvent) {
    if let Ok(packet) = serde_json::to_vec(event) {
        // A supervisor that is gone is seen by the next read.
        let _ = send(socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL);
    }
}

/// Kills everything below this process, until nothing is left: as subreaper it inherits every orphan.
fn kill_descendants() {
    loop {
        processes::kill_all(&processes::below(std::process::id() as i32));
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Err(Errno::ECHILD) => return,
                Ok(_) | Err(_) => {}
            }
        }
        std::thread::sleep(RETRY_KILL_EVERY);
    }
}

/// Sends one packet with descriptors; used by the handle.
pub(super) fn send_packet(socket: &OwnedFd, packet: &[u8], descriptors: &[RawFd]) -> nix::Result<()> {
    use nix::sys::socket::{ControlMessage, sendmsg};
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control: &[ControlMessage<'_>] = if descriptors.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(packet)], control, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
}
