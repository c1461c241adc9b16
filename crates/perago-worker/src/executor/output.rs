//! What executors write to standard output and standard error without our knowledge: native libraries, programs
//! that a body starts, an interpreter that dies.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;

/// Longer lines are cut into pieces of this many bytes.
const MAX_LINE_BYTES: u64 = 16 * 1024;

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

/// Reads a pipe until its end and hands every line on, so that no writer ever blocks on it.
pub async fn follow(pipe: std::io::PipeReader, last: Option<LastLines>, mut line: impl FnMut(String)) {
    let Ok(receiver) = Receiver::from_owned_fd(pipe.into()) else { return };
    let mut reader = BufReader::new(receiver);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&buffer);
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            continue;
        }
        if let Some(last) = &last {
            last.push(text);
        }
        line(text.to_owned());
    }
}
