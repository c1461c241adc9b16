//! What executors write to standard output and standard error without our knowledge: native libraries, programs
//! that a body starts, an interpreter that dies.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use tokio::net::unix::pipe::Receiver;

/// Longer lines are cut into pieces of this many bytes.
const MAX_LINE_BYTES: usize = 16 * 1024;

const KEPT_LINES: usize = 10;

/// The last lines of standard error, for the reason of a death.
#[derive(Debug, Clone, Default)]
pub struct LastLines(Rc<RefCell<VecDeque<String>>>);

impl LastLines {
    /// The lines, oldest first, joined.
    pub fn text(&self) -> String {
        self.0.borrow().iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Forgets what an earlier body wrote.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    /// Adds a line.
    pub fn push(&self, line: &str) {
        let mut lines = self.0.borrow_mut();
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

/// A pipe that an executor writes to.
pub struct Pipe {
    receiver: Receiver,
    last: Option<LastLines>,
    /// A line whose end has not come yet.
    begun: RefCell<Vec<u8>>,
    line: Box<dyn Fn(String)>,
}

impl Pipe {
    /// Takes a pipe's reading end; whole lines go to `line`, and to `last`. Needs a runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(
        pipe: std::io::PipeReader,
        last: Option<LastLines>,
        line: impl Fn(String) + 'static,
    ) -> io::Result<Self> {
        let receiver = Receiver::from_owned_fd(pipe.into())?;
        Ok(Self { receiver, last, begun: RefCell::default(), line: Box::new(line) })
    }

    /// Reads until the pipe's end, so that no writer ever blocks on it.
    pub async fn follow(&self) {
        let mut buffer = vec![0; MAX_LINE_BYTES];
        while self.receiver.readable().await.is_ok() {
            match self.receiver.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.accept(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        self.end_line();
    }

    /// Reads what is there without waiting: what a body has written before it ended.
    pub fn settle(&self) {
        let mut buffer = [0; 4096];
        // Past the runtime, which learns only at its next turn that there is something.
        while let Ok(length @ 1..) = nix::unistd::read(&self.receiver, &mut buffer) {
            self.accept(&buffer[..length]);
        }
    }

    /// Hands on a line that has no end.
    pub fn end_line(&self) {
        let begun = self.begun.take();
        self.hand_on(&begun);
    }

    fn accept(&self, bytes: &[u8]) {
        let mut begun = self.begun.take();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(piece);
            while begun.ends_with(b"\n") || begun.len() >= MAX_LINE_BYTES {
                let rest = begun.split_off(begun.len().min(MAX_LINE_BYTES));
                self.hand_on(&std::mem::replace(&mut begun, rest));
            }
        }
        self.begun.replace(begun);
    }

    fn hand_on(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return;
        }
        if let Some(last) = &self.last {
            last.push(text);
        }
        (self.line)(text.to_owned());
    }
}

/// Standard output and standard error of one process.
#[derive(Default)]
pub struct Output {
    /// The last lines of standard error.
    pub last_lines: LastLines,
    pipes: RefCell<Vec<Rc<Pipe>>>,
}

impl Output {
    /// Adds a pipe, which its caller follows.
    pub fn add(&self, pipe: Pipe) -> Rc<Pipe> {
        let pipe = Rc::new(pipe);
        self.pipes.borrow_mut().push(Rc::clone(&pipe));
        pipe
    }

    /// Hands on what a body has written before it ended; `is_alone` says that no other may be in the middle of a line.
    pub fn settle(&self, is_alone: bool) {
        for pipe in self.pipes.borrow().iter() {
            pipe.settle();
            if is_alone {
                pipe.end_line();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn pipe() -> (std::io::PipeWriter, Pipe, Rc<RefCell<Vec<String>>>) {
        let (reader, writer) = std::io::pipe().unwrap();
        let lines = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&lines);
        (writer, Pipe::new(reader, None, move |line| seen.borrow_mut().push(line)).unwrap(), lines)
    }

    #[tokio::test]
    async fn what_was_written_is_there_at_once_and_a_line_without_end_too() {
        let (mut writer, pipe, lines) = pipe();
        writer.write_all(b"one\r\n\ntwo").unwrap();
        pipe.settle();
        assert_eq!(*lines.borrow(), ["one"]);
        pipe.end_line();
        writer.write_all(b"three\n").unwrap();
        drop(writer);
        pipe.follow().await;
        assert_eq!(*lines.borrow(), ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn long_lines_are_cut() {
        let (mut writer, pipe, lines) = pipe();
        let line = vec![b'x'; MAX_LINE_BYTES + 10];
        let written = std::thread::spawn(move || writer.write_all(&line));
        pipe.follow().await;
        written.join().unwrap().unwrap();
        let lengths: Vec<usize> = lines.borrow().iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, 10]);
    }
}
