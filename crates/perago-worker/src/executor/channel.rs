//! The executor's end of its channel, blocking: what a language binding reads assignments from.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::frame;
use super::message::{Assignment, Ended, FromExecutor, ToExecutor};
use super::result_file::{AttemptId, ResultFile};

/// Environment variable that names the channel's descriptor to the executor.
pub const CHANNEL_VARIABLE: &str = "PERAGO_EXECUTOR_CHANNEL";

/// The executor's end of the channel. Shared by all threads of the executor.
#[derive(Debug)]
pub struct ExecutorChannel {
    reader: Mutex<UnixStream>,
    writer: Mutex<UnixStream>,
    results: Option<Results>,
    /// Read while a body ran, and not for it.
    kept: Mutex<VecDeque<ToExecutor>>,
}

/// Where outcomes are written, and whose they are.
#[derive(Debug)]
struct Results {
    directory: PathBuf,
    running: Mutex<HashMap<u64, Running>>,
}

#[derive(Debug)]
struct Running {
    id: AttemptId,
    slot: u32,
}

impl Results {
    fn begin(&self, assignment: &Assignment) {
        let running = Running { id: AttemptId::of(assignment), slot: assignment.slot };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(assignment.attempt, running);
    }

    /// A body that is told to stop finishes no work: whoever settles its attempt must not take its end for a result.
    fn forget(&self, attempt: u64) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt);
    }

    /// What cannot be written, for example on a full disk, still reaches a supervisor that lives.
    fn end(&self, ended: &Ended) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&ended.attempt);
        if let Some(Running { id, slot }) = running
            && let Ok(file) = ResultFile::open(&self.directory, slot)
        {
            let _ = file.write(&id, ended);
        }
    }
}

impl ExecutorChannel {
    /// Takes over the descriptor named by [`CHANNEL_VARIABLE`], and marks it close-on-exec: programs that a body
    /// starts must not hold it. Outcomes are written below `results` before they are sent.
    ///
    /// # Errors
    /// When the variable does not hold a descriptor number, or that descriptor is not open.
    pub fn from_environment(results: Option<PathBuf>) -> io::Result<Self> {
        let text = std::env::var(CHANNEL_VARIABLE)
            .map_err(|_| io::Error::new(io::ErrorKind::NotFound, format!("{CHANNEL_VARIABLE} is not set")))?;
        let descriptor: RawFd = text.parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{CHANNEL_VARIABLE} is not a number"))
        })?;
        // SAFETY: the variable is set by the supervisor for exactly this process, which owns the descriptor; the
        // fcntl below fails if it is not open.
        let stream = unsafe { UnixStream::from_raw_fd(descriptor) };
        fcntl(&stream, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io::Error::from)?;
        let results = results.map(|directory| Results { directory, running: Mutex::default() });
        Ok(Self {
            writer: Mutex::new(stream.try_clone()?),
            reader: Mutex::new(stream),
            results,
            kept: Mutex::default(),
        })
    }

    /// Waits for the next message; `None` when the supervisor is gone.
    ///
    /// An assignment is acknowledged before it is returned: one that a dying process never read can be given to
    /// another.
    pub fn receive(&self) -> io::Result<Option<ToExecutor>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let message = match kept {
            Some(message) => Some(message),
            None => frame::read(&mut *self.reader.lock().unwrap_or_else(PoisonError::into_inner))?,
        };
        if let Some(ToExecutor::Assign(assignment)) = &message {
            if let Some(results) = &self.results {
                results.begin(assignment);
            }
            self.send(&FromExecutor::Started(assignment.attempt))?;
        }
        if let Some(ToExecutor::Cancel(attempt)) = &message {
            self.forget(*attempt);
        }
        Ok(message)
    }

    fn forget(&self, attempt: u64) {
        if let Some(results) = &self.results {
            results.forget(attempt);
        }
    }

    /// The attempts whose bodies are to be stopped, of what the supervisor has sent and nobody has read; does not
    /// wait. Other messages are kept for [`ExecutorChannel::receive`], which must not run at the same time.
    pub fn cancelled(&self) -> io::Result<Vec<u64>> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cancelled = Vec::new();
        loop {
            let mut ready = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::ZERO) {
                Ok(0) => return Ok(cancelled),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            match frame::read(&mut *reader)? {
                Some(ToExecutor::Cancel(attempt)) => {
                    self.forget(attempt);
                    cancelled.push(attempt);
                }
                Some(other) => self.kept.lock().unwrap_or_else(PoisonError::into_inner).push_back(other),
                None => return Ok(cancelled),
            }
        }
    }

    /// Sends one message whole, whichever threads send at the same time.
    pub fn send(&self, message: &FromExecutor) -> io::Result<()> {
        if let (Some(results), FromExecutor::Ended(ended)) = (&self.results, message) {
            results.end(ended);
        }
        frame::write(&mut *self.writer.lock().unwrap_or_else(PoisonError::into_inner), message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::executor::message::Outcome;
    use crate::executor::result_file::read_all;

    fn assign(attempt: u64) -> ToExecutor {
        ToExecutor::Assign(Box::new(Assignment {
            attempt,
            slot: attempt as u32,
            workflow_id: "w".into(),
            task_id: format!("t{attempt}"),
            reference_name: "r".into(),
            retry_count: 0,
            poll_count: 1,
            params: RawValue::from_string("{}".into()).unwrap(),
            workspace: None,
        }))
    }

    #[test]
    fn the_end_of_a_body_that_was_told_to_stop_is_no_result() {
        let folder = tempfile::tempdir().unwrap();
        let (stream, mut supervisor) = UnixStream::pair().unwrap();
        let channel = ExecutorChannel {
            writer: Mutex::new(stream.try_clone().unwrap()),
            reader: Mutex::new(stream),
            results: Some(Results { directory: folder.path().to_owned(), running: Mutex::default() }),
            kept: Mutex::default(),
        };
        for attempt in [1, 2] {
            frame::write(&mut supervisor, &assign(attempt)).unwrap();
            channel.receive().unwrap();
        }
        frame::write(&mut supervisor, &ToExecutor::Cancel(1)).unwrap();
        assert_eq!(channel.cancelled().unwrap(), [1]);
        for attempt in [1, 2] {
            let outcome = Outcome::Completed(RawValue::from_string("1".into()).unwrap());
            let ended = Ended { attempt, outcome, body_seconds: 0.1, exception: None };
            channel.send(&FromExecutor::Ended(Box::new(ended))).unwrap();
        }
        let written = read_all(folder.path());
        assert_eq!(written.iter().map(|(id, _)| &*id.task_id).collect::<Vec<_>>(), ["t2"]);
    }
}
