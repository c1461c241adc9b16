//! How far a transfer is: a moving line on a terminal, one finished line everywhere.

use std::fmt;
use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use perago_workspace::Progress;
use tokio::time::{MissedTickBehavior, interval};

/// How often the line moves.
const TICK: Duration = Duration::from_millis(80);

/// Shows `progress` on standard error while `transfer` runs, if that is a terminal. `doing` says what it does.
pub(crate) async fn watched<T>(
    doing: &'static str,
    progress: &Progress,
    transfer: impl Future<Output = T>,
) -> T {
    let mut transfer = pin!(transfer);
    if !io::stderr().is_terminal() {
        return transfer.await;
    }
    let bar = ClearedBar(ProgressBar::new(0));
    let template = ProgressStyle::with_template(
        "{spinner} {msg} {bytes}/{total_bytes} {wide_bar} {binary_bytes_per_sec} {eta}",
    );
    bar.0.set_style(template.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut transfer => return done,
            _ = ticks.tick() => bar.show(doing, progress),
        }
    }
}

/// Takes its line away when it goes.
struct ClearedBar(ProgressBar);

impl ClearedBar {
    fn show(&self, doing: &str, progress: &Progress) {
        let [files, done_files, bytes, done_bytes] =
            [&progress.files, &progress.done_files, &progress.bytes, &progress.done_bytes]
                .map(|counter| counter.load(Ordering::Relaxed));
        self.0.set_message(format!("{doing} {done_files}/{files} files"));
        self.0.set_length(bytes);
        self.0.set_position(done_bytes);
        self.0.tick();
    }
}

impl Drop for ClearedBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What a transfer moved, for the line that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Files.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

impl fmt::Display for Moved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration.as_secs_f64();
        let noun = if self.files == 1 { "file" } else { "files" };
        write!(formatter, "{} {noun}, {} in {seconds:.2} s", self.files, HumanBytes(self.bytes))?;
        if self.bytes > 0 && seconds > 0.0 {
            write!(formatter, " ({}/s)", HumanBytes((self.bytes as f64 / seconds) as u64))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_bytes_and_rate() {
        let moved = |files, bytes, milliseconds| {
            Moved { files, bytes, duration: Duration::from_millis(milliseconds) }.to_string()
        };
        assert_eq!(moved(2, 3 * 1024 * 1024, 1500), "2 files, 3.00 MiB in 1.50 s (2.00 MiB/s)");
        assert_eq!(moved(1, 10, 1000), "1 file, 10 B in 1.00 s (10 B/s)");
        assert_eq!(moved(0, 0, 5), "0 files, 0 B in 0.01 s");
    }

    #[tokio::test]
    async fn a_transfer_that_is_watched_gives_its_own_result() {
        assert_eq!(watched("downloading", &Progress::default(), async { 7 }).await, 7);
    }
}
