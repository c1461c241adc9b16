//! Asks a child process for a module's description: the command line never imports the author's module.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use perago_worker::executor::channel::CHANNEL_VARIABLE;
use perago_worker::executor::frame;
use perago_worker::executor::launch::{LAUNCH_VARIABLE, LaunchOptions};
use perago_worker::executor::message::FromExecutor;
use perago_worker::module_description::ModuleDescription;

use crate::failure::Failure;
use crate::{ExitStatus, Host};

/// Describes `module_target`.
///
/// What the module prints while it is imported goes to standard error, so that it never mixes with our output.
pub(crate) fn describe(host: &Host, module_target: &str) -> Result<ModuleDescription, Failure> {
    let launch = LaunchOptions {
        module_target: module_target.to_owned(),
        describe_only: true,
        threads: 1,
        arena: None,
        resource_attribute_keys: Vec::new(),
        failure_reason_max_length: 500,
        results: None,
    };
    let raw = ask(host, &launch).map_err(|reason| {
        Failure::new(format!("the module cannot be described: {reason}")).with_status(ExitStatus::Internal)
    })?;
    match raw {
        Answer::Description(raw) => ModuleDescription::parse(&raw).map_err(|reason| {
            Failure::new(format!("the module's description is not understood: {reason}"))
                .with_status(ExitStatus::Internal)
        }),
        Answer::Ended(how) => Err(Failure::with_hint(
            format!("the process that imports {module_target} ended before it had: {how}"),
            Some("look at what the module does when it is imported: it must not exit or crash".into()),
        )),
    }
}

enum Answer {
    Description(Box<serde_json::value::RawValue>),
    Ended(String),
}

fn ask(host: &Host, launch: &LaunchOptions) -> io::Result<Answer> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs);
    let inherited = theirs.as_raw_fd();
    let mut command = Command::new(&host.executor.program);
    command
        .args(&host.executor.arguments)
        .env(LAUNCH_VARIABLE, serde_json::to_string(launch)?)
        .env(CHANNEL_VARIABLE, inherited.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()));
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            if libc::fcntl(inherited, libc::F_SETFD, 0) == -1
                || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == -1
            {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    drop(theirs);
    let answer = loop {
        match frame::read::<FromExecutor>(&mut ours)? {
            Some(FromExecutor::Ready(raw) | FromExecutor::Unready(raw)) => break Some(raw),
            Some(_) => {}
            None => break None,
        }
    };
    if let Some(raw) = answer {
        // It has said all it knows; what the module's exit handlers would do is of no interest.
        let _ = child.kill();
        child.wait()?;
        return Ok(Answer::Description(raw));
    }
    Ok(Answer::Ended(child.wait()?.to_string()))
}
