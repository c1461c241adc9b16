//! The push loop: one worker's snapshots to one endpoint, at an interval, on demand, and a last time.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perago_http::{ProxyOptions, Secret};
use perago_metrics::{ArenaStore, SeriesKey, Snapshot, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::delivery::{Delivered, Delivery, Part};
use crate::error::{Error, PushFailure};
use crate::push::Pusher;
use crate::resource::Resource;

/// The longest time for which pushes at the interval are left out because the server asked for it.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// A refused series is tried again after this time.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// A search that found everything refused is repeated after this time.
const SEARCH_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Repeated news of one kind are told at most this often.
const NEWS_EVERY: Duration = Duration::from_secs(60);

/// How an exporter pushes.
#[derive(Clone)]
pub struct ExporterOptions {
    /// The address, used as it is.
    pub endpoint: Secret,
    /// The time between two pushes.
    pub interval: Duration,
    /// How long one request may take, repetitions included.
    pub timeout: Duration,
    /// How long one push may take, all its requests included.
    pub export_timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// Headers of every request.
    pub headers: Vec<(String, Secret)>,
    /// A file of PEM certificates that are trusted instead of the system's.
    pub certificate: Option<PathBuf>,
    /// Files of PEM certificates that are trusted beside the system's.
    pub extra_ca_files: Vec<PathBuf>,
    /// Proxies, which are never used for this machine's own addresses.
    pub proxies: ProxyOptions,
    /// The worker.
    pub resource: Resource,
}

impl ExporterOptions {
    /// The defaults of the OpenTelemetry specification: every 60 s, 10 s for a request, 30 s for a push, no
    /// compression.
    pub fn new(endpoint: impl Into<String>, resource: Resource) -> Self {
        Self {
            endpoint: Secret::new(endpoint),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            export_timeout: Duration::from_secs(30),
            gzip: false,
            headers: Vec::new(),
            certificate: None,
            extra_ca_files: Vec::new(),
            proxies: ProxyOptions::default(),
            resource,
        }
    }
}

impl fmt::Debug for ExporterOptions {
    /// Endpoint, headers and proxies are masked: they may hold passwords.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExporterOptions")
            .field("endpoint", &self.endpoint)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("export_timeout", &self.export_timeout)
            .field("gzip", &self.gzip)
            .field("headers", &self.headers)
            .field("certificate", &self.certificate)
            .field("extra_ca_files", &self.extra_ca_files)
            .field("proxies", &self.proxies)
            .field("resource", &self.resource)
            .finish()
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
    /// A push failed.
    Failed {
        /// How many in a row.
        in_a_row: u64,
        /// Why this one did.
        failure: PushFailure,
        /// Whether it should be logged: the first of a row, and then one a minute.
        is_news: bool,
    },
    /// A push arrived after failures. Nothing was lost: totals are cumulative.
    Recovered {
        /// How many had failed.
        failed: u64,
    },
    /// The server took everything but this series, which is left out for the next ten minutes.
    SeriesRefused {
        /// The exported name.
        metric_name: String,
        /// Its labels, as `key="value"` between commas.
        labels: String,
        /// What the server said.
        failure: PushFailure,
    },
    /// The server took the push without some points, or warned about it. Given at most once a minute.
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
    delivery: Delivery,
    interval: Duration,
    export_timeout: Duration,
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
    /// Series that the server refused, and until when they are left out.
    refused: HashMap<Arc<SeriesKey>, Instant>,
    /// Everything was refused: until then no series is looked for.
    no_search_before: Option<Instant>,
    /// The server asked to be left alone until then.
    silent_until: Option<Instant>,
    failed_in_a_row: u64,
    failure_told: Option<Instant>,
    partial_success_told: Option<Instant>,
    last_time: u64,
}

/// Values to push, and the gauges that the store shows once it has them.
struct Prepared {
    part: Part,
    gauges: HashSet<Arc<SeriesKey>>,
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
        let exporter = Self {
            delivery: Delivery::new(pusher, options.resource, options.timeout),
            interval: options.interval.max(Duration::from_millis(1)),
            export_timeout: options.export_timeout,
            source,
            observer,
            commands,
            history: History::default(),
        };
        Ok((exporter, ExporterHandle { commands: sender }))
    }

    /// Pushes at the interval until [`ExporterHandle::shutdown`], or until every handle is gone.
    pub async fn run(mut self) {
        let mut next = Instant::now() + self.interval;
        loop {
            let command = tokio::select! {
                command = self.commands.recv() => command,
                () = tokio::time::sleep_until(next) => {
                    next = self.next_after(next);
                    if self.history.silent_until.is_some_and(|until| Instant::now() < until) {
                        continue;
                    }
                    match self.push_unless_commanded().await {
                        Some(command) => command,
                        None => continue,
                    }
                }
            };
            match command {
                Some(Command::Flush { deadline, reply }) => {
                    let result = self.push(deadline.min(Instant::now() + self.export_timeout)).await;
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
        let next = due + self.interval;
        if next > Instant::now() { next } else { Instant::now() + self.interval }
    }

    /// A push at the interval gives way to a command, whose own push has newer values. None if there was no command.
    async fn push_unless_commanded(&mut self) -> Option<Option<Command>> {
        let Prepared { part, gauges } = self.prepare();
        let deadline = Instant::now() + self.export_timeout;
        let may_search = self.history.may_search();
        tokio::select! {
            biased;
            command = self.commands.recv() => {
                // The push may have arrived.
                self.history.gauges.extend(gauges);
                Some(command)
            }
            delivered = self.delivery.deliver(part, may_search, deadline) => {
                // A failure has been reported; the next push makes up for it.
                let _ = self.conclude(delivered, gauges);
                None
            }
        }
    }

    async fn push(&mut self, deadline: Instant) -> Result<(), PushFailure> {
        let Prepared { part, gauges } = self.prepare();
        let delivered = self.delivery.deliver(part, self.history.may_search(), deadline).await;
        self.conclude(delivered, gauges)
    }

    async fn push_last(&mut self, deadline: Instant) -> Result<(), PushFailure> {
        let last_values = self.push(deadline).await;
        let is_gone = matches!(last_values, Err(PushFailure::Connection(_) | PushFailure::Deadline));
        if is_gone || self.history.gauges.is_empty() {
            return last_values;
        }
        let mut snapshot = self.snapshot();
        snapshot.points.clear();
        let part = Part { snapshot, ended: self.history.ended(&HashSet::new()) };
        let delivered = self.delivery.deliver(part, self.history.may_search(), deadline).await;
        last_values.and(self.conclude(delivered, HashSet::new()))
    }

    /// A snapshot that is later than the one before by at least the millisecond that stores keep time in.
    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = self.source.snapshot();
        snapshot.time_unix_nanos = snapshot.time_unix_nanos.max(self.history.last_time + 1_000_000);
        self.history.last_time = snapshot.time_unix_nanos;
        snapshot
    }

    fn prepare(&mut self) -> Prepared {
        let mut snapshot = self.snapshot();
        let now = Instant::now();
        self.history.refused.retain(|_, until| now < *until);
        if !self.history.refused.is_empty() {
            snapshot.points.retain(|point| !self.history.refused.contains_key(&point.key));
        }
        let is_gauge = |point: &&perago_metrics::Point| matches!(point.value, Value::Gauge(_));
        let gauges: HashSet<Arc<SeriesKey>> =
            snapshot.points.iter().filter(is_gauge).map(|point| Arc::clone(&point.key)).collect();
        let ended = self.history.ended(&gauges);
        Prepared { part: Part { snapshot, ended }, gauges }
    }

    fn conclude(
        &mut self,
        delivered: Delivered,
        mut gauges: HashSet<Arc<SeriesKey>>,
    ) -> Result<(), PushFailure> {
        let now = Instant::now();
        for refused in delivered.refused {
            gauges.remove(&refused.key);
            self.history.gauges.remove(&refused.key);
            (self.observer)(ExportEvent::SeriesRefused {
                metric_name: refused.key.name().to_owned(),
                labels: shown_labels(&refused.key),
                failure: refused.failure,
            });
            self.history.refused.insert(refused.key, now + REFUSED_FOR);
        }
        if delivered.is_refused_whole {
            self.history.no_search_before = Some(now + SEARCH_AGAIN_AFTER);
        }
        let accepted = delivered.accepted;
        let is_partial = accepted.rejected != 0 || !accepted.message.is_empty();
        if is_partial && is_due(&mut self.history.partial_success_told, now) {
            let (rejected, message) = (accepted.rejected, accepted.message);
            (self.observer)(ExportEvent::PartialSuccess { rejected, message });
        }
        let Some(failed) = delivered.failed else {
            self.history.gauges = gauges;
            self.history.silent_until = None;
            self.history.no_search_before = None;
            self.history.failure_told = None;
            let failed = std::mem::take(&mut self.history.failed_in_a_row);
            if failed > 0 {
                (self.observer)(ExportEvent::Recovered { failed });
            }
            return Ok(());
        };
        // A push whose answer was lost may have arrived.
        self.history.gauges.extend(gauges);
        self.history.silent_until = failed.leave_alone.map(|time| now + time.min(LONGEST_SILENCE));
        self.history.failed_in_a_row += 1;
        let is_news = is_due(&mut self.history.failure_told, now);
        let (in_a_row, failure) = (self.history.failed_in_a_row, failed.failure);
        (self.observer)(ExportEvent::Failed { in_a_row, failure: failure.clone(), is_news });
        Err(failure)
    }
}

impl History {
    /// The gauges that the store shows and that are not among `current`, in a fixed order.
    fn ended(&self, current: &HashSet<Arc<SeriesKey>>) -> Vec<Arc<SeriesKey>> {
        let mut ended: Vec<Arc<SeriesKey>> = self.gauges.difference(current).cloned().collect();
        ended.sort();
        ended
    }

    fn may_search(&self) -> bool {
        self.no_search_before.is_none_or(|time| time <= Instant::now())
    }
}

/// Whether news may be told `now`, which is then noted.
fn is_due(told: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = told.is_none_or(|last| now - last >= NEWS_EVERY);
    if is_due {
        *told = Some(now);
    }
    is_due
}

fn shown_labels(key: &SeriesKey) -> String {
    key.labels().iter().map(|(label, value)| format!("{label}={value:?}")).collect::<Vec<_>>().join(",")
}
