//! Where text goes: data to standard output, everything else to standard error. A reader that has gone away is
//! no failure.

use std::io::{self, Write as _};

/// Writes to both streams.
#[derive(Debug)]
pub(crate) struct Printer {
    output: io::Stdout,
    errors: io::Stderr,
}

impl Default for Printer {
    fn default() -> Self {
        Self { output: io::stdout(), errors: io::stderr() }
    }
}

impl Printer {
    /// One line (or block) of the command's result, on standard output.
    pub fn output(&self, text: &str) {
        let mut stream = self.output.lock();
        let _ = writeln!(stream, "{text}").and_then(|()| stream.flush());
    }

    /// One line (or block) for whoever watches, on standard error.
    pub fn message(&self, text: &str) {
        // In one piece: programs that a body starts write to the same stream.
        let _ = self.errors.lock().write_all(format!("{text}\n").as_bytes());
    }

    /// `warning: …` on standard error.
    pub fn warning(&self, text: &str) {
        self.message(&format!("warning: {text}"));
    }

    /// `error: …` on standard error, and the hint below it.
    pub fn error(&self, text: &str, hint: Option<&str>) {
        self.message(&format!("error: {text}"));
        if let Some(hint) = hint {
            self.message(&format!("  hint: {hint}"));
        }
    }
}
