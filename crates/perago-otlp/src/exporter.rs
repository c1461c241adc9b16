//! The push loop: one worker's snapshots to one endpoint, at an interval, on demand, and a last time.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perago_metrics::{ArenaStore, SeriesKey, Snapshot, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::encode::encode;
use crate::error::{Error, PushFailure};
use crate::push::{Accepted, Pusher};
use crate::resource::Resource;

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

/// How an exporter pushes.
#[derive(Debug, Clone)]
pub struct ExporterOptions {
    /// The address, used as it is.
    pub endpoint: String,
    /// The time between two pushes.
    pub interval: Duration,
    /// How long one push may take, retries included.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// Headers of every request.
    pub headers: Vec<(String, Secret)>,
    /// A file of PEM certificates that replaces the system's.
    pub certificate: Option<PathBuf>,
    /// The worker.
    pub resource: Resource,
}

impl ExporterOptions {
    /// The defaults of the OpenTelemetry specification: every 60 s, 10 s for a push, no compression.
    pub fn new(endpoint: impl Into<String>, resource: Resource) -> Self {
        Self {
            endpoint: endpoint.into(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            gzip: false,
            headers: Vec::new(),
            certificate: None,
            resource,
        }
    }
}

/// Where the values come from.
pub trait SnapshotSource {
    /// All series as they are now.
    fn snapshot(&mut self) -> Snapshot;
}

impl SnapshotSource for Arc<Mutex<ArenaStore>> {
    fn snapshot(&mut self) -> Snapshot {
        self.lock().unwrap_or_else(PoisonError::into_inner).snapshot()
    }
}

impl<F: FnMut() -> Snapshot> SnapshotSource for F {
    fn snapshot(&mut self) -> Snapshot {
        self()
    }
}

/// Something about the pushes that an operator should read in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportEvent {
    /// Pushes fail. Given for the first and then at most once a minute.
    Failed {
        /// How many in a row.
        in_a_row: u64,
        /// Why the last one did.
        failure: PushFailure,
    },
    /// A push arrived after failures. Nothing was lost: totals are cumulative.
    Recovered {
        /// How many had failed.
        failed: u64,
    },
    /// The server took the push without some points, or warned about it.
    PartialSuccess {
        /// Data points that it dropped.
        rejected: i64,
        /// What it said.
        message: String,
    },
}

enum Command {
    Flush { deadline: Instant, reply: oneshot::Sender<Result<(), PushFailure>> },
    Shutdown { deadline: Instant, reply: oneshot::Sender<Result<(), PushFailure>> },
}

/// Pushes snapshots until it is shut down.
pub struct Exporter<S, O> {
    pusher: Pusher,
    options: ExporterOptions,
    source: S,
    observer: O,
    commands: mpsc::Receiver<Command>,
    history: History,
}

/// Asks an exporter for pushes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ExporterHandle {
    commands: mpsc::Sender<Command>,
}

/// What was pushed before.
#[derive(Default)]
struct History {
    /// Gauges that the store still shows.
    gauges: HashSet<Arc<SeriesKey>>,
    failed_in_a_row: u64,
    reported: Option<Instant>,
    last_time: u64,
}

impl ExporterHandle {
    /// Pushes the present values. Waits no longer than until `deadline`.
    pub async fn flush(&self, deadline: Instant) -> Result<(), PushFailure> {
        self.ask(deadline, |reply| Command::Flush { deadline, reply }).await
    }

    /// Pushes the last values, then "no recorded value" for every gauge, and ends [`Exporter::run`]. Waits no longer
    /// than until `deadline`.
    pub async fn shutdown(&self, deadline: Instant) -> Result<(), PushFailure> {
        self.ask(deadline, |reply| Command::Shutdown { deadline, reply }).await
    }

    async fn ask(
        &self,
        deadline: Instant,
        command: impl FnOnce(oneshot::Sender<Result<(), PushFailure>>) -> Command,
    ) -> Result<(), PushFailure> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            // An exporter that has ended has nothing left to push.
            if self.commands.send(command(reply)).await.is_err() {
                return Ok(());
            }
            answer.await.unwrap_or(Ok(()))
        };
        tokio::time::timeout_at(deadline, asked).await.unwrap_or(Err(PushFailure::Deadline))
    }
}

impl<S: SnapshotSource, O: FnMut(ExportEvent)> Exporter<S, O> {
    /// An exporter of `source` that tells `observer` what an operator should know.
    pub fn new(options: ExporterOptions, source: S, observer: O) -> Result<(Self, ExporterHandle), Error> {
        let (sender, commands) = mpsc::channel(8);
        let pusher = Pusher::new(&options)?;
        let exporter = Self { pusher, options, source, observer, commands, history: History::default() };
        Ok((exporter, ExporterHandle { commands: sender }))
    }

    /// Pushes at the interval until [`ExporterHandle::shutdown`], or until every handle is gone.
    pub async fn run(mut self) {
        let mut next = Instant::now() + self.options.interval;
        loop {
            let command = tokio::select! {
                command = self.commands.recv() => command,
                () = tokio::time::sleep_until(next) => {
                    next = self.next_after(next);
                    match self.push_unless_commanded().await {
                        Some(command) => command,
                        None => continue,
                    }
                }
            };
            match command {
                Some(Command::Flush { deadline, reply }) => {
                    let result = self.push(deadline.min(Instant::now() + self.options.timeout)).await;
                    // The asker may have stopped waiting.
                    let _ = reply.send(result);
                }
                Some(Command::Shutdown { deadline, reply }) => {
                    let result = self.push_last(deadline).await;
                    let _ = reply.send(result);
                    return;
                }
                None => return,
            }
        }
    }

    /// The next whole interval: a push that took longer skips those it covered.
    fn next_after(&self, due: Instant) -> Instant {
        let interval = self.options.interval.max(Duration::from_millis(1));
        let next = due + interval;
        if next > Instant::now() { next } else { Instant::now() + interval }
    }

    /// A push at the interval gives way to a command, whose own push has newer values. None if there was no command.
    async fn push_unless_commanded(&mut self) -> Option<Option<Command>> {
        let snapshot = self.snapshot();
        let (request, gauges) = self.encode(&snapshot);
        let deadline = Instant::now() + self.options.timeout;
        tokio::select! {
            biased;
            command = self.commands.recv() => {
                // The push may have arrived.
                self.history.gauges.extend(gauges);
                Some(command)
            }
            result = self.pusher.push(request, deadline) => {
                // A failure has been reported; the next push makes up for it.
                let _ = self.conclude(result, gauges);
                None
            }
        }
    }

    async fn push(&mut self, deadline: Instant) -> Result<(), PushFailure> {
        let snapshot = self.snapshot();
        let (request, gauges) = self.encode(&snapshot);
        let result = self.pusher.push(request, deadline).await;
        self.conclude(result, gauges)
    }

    async fn push_last(&mut self, deadline: Instant) -> Result<(), PushFailure> {
        self.push(deadline).await?;
        if self.history.gauges.is_empty() {
            return Ok(());
        }
        let mut ending = self.snapshot();
        ending.points.clear();
        let (request, gauges) = self.encode(&ending);
        let result = self.pusher.push(request, deadline).await;
        self.conclude(result, gauges)
    }

    /// A snapshot that is later than the one before by at least the millisecond that stores keep time in.
    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = self.source.snapshot();
        snapshot.time_unix_nanos = snapshot.time_unix_nanos.max(self.history.last_time + 1_000_000);
        self.history.last_time = snapshot.time_unix_nanos;
        snapshot
    }

    /// The request, and the gauges that the store shows once it has it.
    fn encode(&self, snapshot: &Snapshot) -> (Vec<u8>, HashSet<Arc<SeriesKey>>) {
        let is_gauge = |point: &&perago_metrics::Point| matches!(point.value, Value::Gauge(_));
        let gauges: HashSet<Arc<SeriesKey>> =
            snapshot.points.iter().filter(is_gauge).map(|point| Arc::clone(&point.key)).collect();
        let mut ended: Vec<&SeriesKey> = self.history.gauges.difference(&gauges).map(|key| &**key).collect();
        ended.sort();
        (encode(snapshot, ended, &self.options.resource), gauges)
    }

    fn conclude(
        &mut self,
        result: Result<Accepted, PushFailure>,
        gauges: HashSet<Arc<SeriesKey>>,
    ) -> Result<(), PushFailure> {
        match result {
            Ok(accepted) => {
                self.history.gauges = gauges;
                let failed = std::mem::take(&mut self.history.failed_in_a_row);
                if failed > 0 {
                    self.history.reported = None;
                    (self.observer)(ExportEvent::Recovered { failed });
                }
                if accepted != Accepted::default() {
                    let Accepted { rejected, message } = accepted;
                    (self.observer)(ExportEvent::PartialSuccess { rejected, message });
                }
                Ok(())
            }
            Err(failure) => {
                // A push whose answer was lost may have arrived.
                self.history.gauges.extend(gauges);
                self.history.failed_in_a_row += 1;
                let now = Instant::now();
                let is_due = self.history.reported.is_none_or(|last| now - last >= Duration::from_secs(60));
                if is_due {
                    self.history.reported = Some(now);
                    let in_a_row = self.history.failed_in_a_row;
                    (self.observer)(ExportEvent::Failed { in_a_row, failure: failure.clone() });
                }
                Err(failure)
            }
        }
    }
}
