//! The executor of one attempt: a process of its own, as in a worker, but without supervisor and guardian.

use std::fmt::Write as _;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::time::Duration;

use perago_worker::attempt::outcome::death_failure;
use perago_worker::executor::frame;
use perago_worker::executor::launch::LaunchOptions;
use perago_worker::executor::message::{Assignment, Ended, FromExecutor, LogLine, Outcome, ToExecutor};
use perago_worker::executor::pool::Death;
use perago_worker::guardian;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Host;
use crate::describe::Described;
use crate::executor_command::executor_command;
use crate::printer::Printer;

/// A dead process's last frames are read for this long; only a child that it left can hold the channel open.
const LAST_FRAMES_WITHIN: Duration = Duration::from_millis(200);
/// A process that has closed its channel, or was told to stop, gets this long to end by itself.
const ENDS_ALONE_WITHIN: Duration = Duration::from_secs(3);

/// A running executor. It and the programs that it started are killed when this goes.
#[derive(Debug)]
pub(super) struct Executor<'a> {
    printer: &'a Printer,
    child: Child,
    channel: UnixStream,
    group: libc::pid_t,
}

impl<'a> Executor<'a> {
    /// Starts an executor. Needs a runtime.
    pub fn start(host: &Host, launch: &LaunchOptions, printer: &'a Printer) -> io::Result<Self> {
        let (mut command, channel) = executor_command(host, launch)?;
        for (name, value) in super::BODY_VARIABLES {
            command.env(name, value);
        }
        // A group of its own: Ctrl-C is for us, and what the body started can be ended with it.
        command.process_group(0);
        let mut command = Command::from(command);
        let child = command.kill_on_drop(true).spawn()?;
        drop(command);
        channel.set_nonblocking(true)?;
        let group = child.id().map_or(0, |id| id as libc::pid_t);
        Ok(Self { printer, child, channel: UnixStream::from_std(channel)?, group })
    }

    /// Waits until the module is imported.
    pub async fn description(&mut self) -> io::Result<Described> {
        let description = |message| match message {
            FromExecutor::Ready(raw) | FromExecutor::Unready(raw) => Some(raw),
            _ => None,
        };
        match self.next(description).await? {
            Some(raw) => Ok(Described::Description(raw)),
            None => Ok(Described::Ended(self.wait().await?.to_string())),
        }
    }

    /// Runs the body and waits for its end, or that of the process.
    pub async fn run(&mut self, assignment: Assignment) -> io::Result<Ended> {
        let attempt = assignment.attempt;
        let message = ToExecutor::Assign(Box::new(assignment));
        match frame::write_async(&mut self.channel, &message).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            // A process that is gone is noticed below.
            _ => {}
        }
        let ended = |message| match message {
            FromExecutor::Ended(ended) => Some(ended),
            _ => None,
        };
        if let Some(ended) = self.next(ended).await? {
            return Ok(*ended);
        }
        let status = self.wait().await?;
        let status = status
            .signal()
            .map(guardian::ExitStatus::Signal)
            .or_else(|| status.code().map(guardian::ExitStatus::Code));
        let failure = death_failure(&Death { status, last_lines: String::new(), is_stillborn: false });
        Ok(Ended { attempt, outcome: Outcome::Failed(failure), body_seconds: 0.0, exception: None })
    }

    /// Lets the process end by itself, with what its exit handlers print.
    pub async fn stop(mut self) {
        let _ = frame::write_async(&mut self.channel, &ToExecutor::Stop).await;
        let end = async {
            let _ = self.next(|_| None::<()>).await;
            self.child.wait().await
        };
        let _ = timeout(ENDS_ALONE_WITHIN, end).await;
    }

    /// Reads what it says until `wanted` finds what it looks for; `None` when the process has no more to say.
    async fn next<T>(&mut self, wanted: impl Fn(FromExecutor) -> Option<T>) -> io::Result<Option<T>> {
        let (channel, printer) = (&mut self.channel, self.printer);
        let frames = async {
            while let Some(message) = frame::read_async::<FromExecutor>(channel).await? {
                if let FromExecutor::Log(line) = message {
                    printer.message(&line_text(&line));
                } else if let Some(found) = wanted(message) {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        tokio::pin!(frames);
        tokio::select! {
            biased;
            found = &mut frames => found,
            // A child that the body left may hold the channel open.
            _ = self.child.wait() => timeout(LAST_FRAMES_WITHIN, frames).await.unwrap_or(Ok(None)),
        }
    }

    async fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        if let Ok(status) = timeout(ENDS_ALONE_WITHIN, self.child.wait()).await {
            return status;
        }
        self.child.start_kill()?;
        self.child.wait().await
    }
}

impl Drop for Executor<'_> {
    fn drop(&mut self) {
        if self.group > 0 {
            // SAFETY: a plain system call. The group is that of our child; if nothing of it is left, the call fails.
            unsafe {
                libc::killpg(self.group, libc::SIGKILL);
            }
        }
    }
}

/// A line of the body's log: printed text as it is, a log record with level and source.
fn line_text(line: &LogLine) -> String {
    let mut text = match line.source.as_str() {
        "stdout" | "stderr" => line.message.clone(),
        source => format!("{} {source}: {}", line.level, line.message),
    };
    for (name, value) in &line.fields {
        let _ = write!(text, " {name}={value}");
    }
    if let Some(exception) = &line.exception {
        text.push('\n');
        text.push_str(exception.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_text_stays_and_records_say_where_they_come_from() {
        let mut line: LogLine = serde_json::from_value(serde_json::json!({
            "level": "INFO", "source": "stdout", "message": "hello", "time": 0.0,
        }))
        .unwrap();
        assert_eq!(line_text(&line), "hello");
        line.level = "WARNING".into();
        line.source = "app.render".into();
        line.fields.insert("song".into(), 3.into());
        line.exception = Some("ValueError: no\n".into());
        assert_eq!(line_text(&line), "WARNING app.render: hello song=3\nValueError: no");
    }
}
