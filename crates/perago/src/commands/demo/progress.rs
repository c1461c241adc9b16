//! A moving line on standard error, if that is a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};

use super::metrics::Moved;

/// How often the line moves.
const TICK: Duration = Duration::from_millis(80);

/// How many tasks are done; invisible where nobody could see it move.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Shows the line for `tasks` tasks.
    pub fn start(tasks: u64) -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(tasks);
        let template = ProgressStyle::with_template("{spinner} {pos}/{len} tasks {wide_bar} {msg}");
        bar.set_style(template.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Says what happens now.
    pub fn say(&self, text: &'static str) {
        self.0.set_message(text);
    }

    /// Sets how many tasks are done, and says what the workspaces have moved so far.
    pub fn set(&self, done: usize, moved: impl FnOnce() -> Moved) {
        self.0.set_position(done as u64);
        if !self.0.is_hidden() {
            let Moved { down, up } = moved();
            self.0.set_message(format!("↓ {}  ↑ {}", BinaryBytes(down), BinaryBytes(up)));
        }
    }

    /// Prints something while the line is out of the way.
    pub fn suspend(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
