//! How a worker that was told to stop ends: what it still waits for, and for how long.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Worker;
use crate::export::Export;
use crate::logs::{Level, Record};
use crate::open_attempts::Stage;
use crate::worker_options::Stopped;

/// Idle executors get this long to end by themselves.
const EXECUTORS_END_WITHIN: Duration = Duration::from_secs(3);

/// After the last body, results that the server does not take are tried for this long when no deadline is set.
const DELIVER_WITHIN: Duration = Duration::from_secs(30);

/// After that, directories of attempts get this long to be removed. The next worker removes what is left of them.
const REMOVED_WITHIN: Duration = Duration::from_secs(5);

/// Bounds the last export of metrics, inside the deadline if one is set.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// A quarter of the deadline, and at most this, is kept for what comes after the bodies: most of it for giving tasks
/// back, the rest for the last export.
const LAST_STEPS_WITHIN: Duration = Duration::from_secs(2);

/// The poller, which ends with the attempts that still run.
type Poller = JoinHandle<Vec<JoinHandle<()>>>;

/// What is to be stopped.
pub(super) struct Stopping {
    /// None of a worker that is paused by a setting.
    pub(super) poller: Option<Poller>,
    /// Takes no more work.
    pub(super) drain: watch::Sender<bool>,
    /// Gives up what runs.
    pub(super) abandon: watch::Sender<bool>,
    /// The export of metrics.
    pub(super) export: Option<Export>,
}

impl Worker {
    /// Ends what runs, within the deadline if one is set, and pushes metrics once more.
    pub(super) async fn stop(&self, stopping: Stopping) -> Stopped {
        let Stopping { poller, drain, abandon, export } = stopping;
        self.operator.ends();
        self.logger.event(Level::Info, "worker_draining", "told to stop; finishing what runs");
        drain.send_replace(true);
        self.pool.stop();
        let deadline = self.options.settings.shutdown_force_kill_after;
        let told_at = Instant::now();
        let stopped = match deadline {
            None => self.drain(poller, &abandon).await,
            Some(limit) => {
                let last_steps = last_steps(limit);
                let bodies_end_within = limit.saturating_sub(self.stop_grace() + last_steps);
                match tokio::time::timeout(bodies_end_within, self.drain(poller, &abandon)).await {
                    Ok(stopped) => stopped,
                    Err(_) => self.give_up(&abandon, told_at + limit - last_steps / 4).await,
                }
            }
        };
        if let Some(export) = export {
            let left = deadline.map_or(FLUSH_WITHIN, |limit| {
                limit.saturating_sub(told_at.elapsed() + last_steps(limit) / 16)
            });
            export.shutdown(left.min(FLUSH_WITHIN), &self.logger).await;
        }
        self.logger.event(Level::Info, "worker_stopped", "worker stopped");
        stopped
    }

    /// Waits for the poll in flight, the bodies that run, and the delivery of their results.
    async fn drain(&self, poller: Option<Poller>, abandon: &watch::Sender<bool>) -> Stopped {
        let attempts = match poller {
            Some(poller) => poller.await.unwrap_or_default(),
            None => Vec::new(),
        };
        self.open.all_reached(Stage::Report).await;
        let mut stopped = Stopped::Drained;
        if tokio::time::timeout(DELIVER_WITHIN, self.open.all_reached(Stage::CleanUp)).await.is_err() {
            stopped = Stopped::Forced;
            abandon.send_replace(true);
            self.open.all_reached(Stage::CleanUp).await;
        }
        let ended = async {
            for attempt in attempts {
                let _ = attempt.await;
            }
        };
        if tokio::time::timeout(REMOVED_WITHIN, ended).await.is_err() {
            stopped = Stopped::Forced;
            let message =
                "directories of attempts are not removed yet; they are found later by their markers";
            let record = Record::new(Level::Warning, "workspace_left", message);
            self.logger.write(record.with("open_attempts", self.open.count() as u64));
        }
        if tokio::time::timeout(EXECUTORS_END_WITHIN, self.pool.stopped()).await.is_err() {
            self.pool.kill_all().await;
        }
        stopped
    }

    /// How long bodies that still run have from being told to stop until they are killed.
    pub(super) fn stop_grace(&self) -> Duration {
        let settings = &self.options.settings;
        let most = settings.shutdown_force_kill_after.map_or(Duration::ZERO, |deadline| deadline / 4);
        settings.cancel_grace.min(most)
    }

    /// Stops what runs and gives its tasks back. What is not given back in time is so at the next start.
    async fn give_up(&self, abandon: &watch::Sender<bool>, until: Instant) -> Stopped {
        let open = self.open.count() as u64;
        self.logger.write(
            Record::new(Level::Warning, "drain_deadline", "the drain deadline is near; stopping what runs")
                .with("open_attempts", open),
        );
        abandon.send_replace(true);
        let released = async {
            while self.open.count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout_at(until, released).await;
        self.pool.kill_all().await;
        Stopped::Forced
    }
}

/// How much of the drain's deadline is kept for what comes after the bodies.
fn last_steps(deadline: Duration) -> Duration {
    (deadline / 4).min(LAST_STEPS_WITHIN)
}
