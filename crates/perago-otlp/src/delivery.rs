//! From a snapshot to requests: each of bounded size, and a series that the receiver refuses never holds up the others.

use std::sync::Arc;
use std::time::Duration;

use perago_metrics::{SeriesKey, Snapshot};
use tokio::time::Instant;

use crate::encode::encode;
use crate::error::PushFailure;
use crate::push::{Accepted, Failed, Pusher};
use crate::resource::Resource;

/// The most bytes of one request before compression. Receivers take 20 MiB (OpenTelemetry Collector) or 64 MiB
/// (VictoriaMetrics) unless they are told otherwise; to one that takes less (413) smaller ones are sent.
const LARGEST_REQUEST: usize = 8 << 20;

/// Refused requests that one push may spend on finding the series at fault.
const SEARCH_REQUESTS: u32 = 64;

/// Points that go into one request, and gauges that have ended.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) snapshot: Snapshot,
    pub(crate) ended: Vec<Arc<SeriesKey>>,
}

/// A series that the receiver refused while it took others.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) key: Arc<SeriesKey>,
    pub(crate) failure: PushFailure,
}

/// What came of a push.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// What the receiver said of what it took.
    pub(crate) accepted: Accepted,
    /// The series that it did not take.
    pub(crate) refused: Vec<Refused>,
    /// Why the rest did not arrive.
    pub(crate) failed: Option<Failed>,
    /// Whether nothing at all was taken, so that no series alone is at fault.
    pub(crate) is_refused_whole: bool,
}

/// Sends snapshots to one endpoint.
#[derive(Debug)]
pub(crate) struct Delivery {
    pusher: Pusher,
    resource: Resource,
    largest_request: usize,
    /// Limit of one request with its repetitions.
    timeout: Duration,
}

impl Part {
    fn len(&self) -> usize {
        self.snapshot.points.len() + self.ended.len()
    }

    /// Two parts of half the size.
    fn split(mut self) -> [Self; 2] {
        let (half, points) = (self.len() / 2, self.snapshot.points.len());
        let other = if half < points {
            let rest = self.snapshot.points.split_off(half);
            Self { snapshot: with_points(&self.snapshot, rest), ended: std::mem::take(&mut self.ended) }
        } else {
            let ended = self.ended.split_off(half - points);
            Self { snapshot: with_points(&self.snapshot, Vec::new()), ended }
        };
        [self, other]
    }

    fn into_key(self) -> Option<Arc<SeriesKey>> {
        let point = self.snapshot.points.into_iter().next().map(|point| point.key);
        point.or_else(|| self.ended.into_iter().next())
    }
}

fn with_points(snapshot: &Snapshot, points: Vec<perago_metrics::Point>) -> Snapshot {
    Snapshot {
        start_unix_nanos: snapshot.start_unix_nanos,
        time_unix_nanos: snapshot.time_unix_nanos,
        points,
        ..Snapshot::default()
    }
}

impl Delivery {
    pub(crate) fn new(pusher: Pusher, resource: Resource, timeout: Duration) -> Self {
        Self { pusher, resource, largest_request: LARGEST_REQUEST, timeout }
    }

    /// Sends `whole` until `deadline`. What the receiver refuses for its content is split until the series at fault
    /// is found, if `may_search`.
    pub(crate) async fn deliver(&mut self, whole: Part, may_search: bool, deadline: Instant) -> Delivered {
        let mut delivered = Delivered::default();
        let mut is_any_accepted = false;
        let mut refusals = 0;
        // If one half is refused at every step and nothing was taken, no series alone is at fault.
        let vain_after = 2 * (whole.len().max(1).ilog2() + 1);
        let mut waiting = vec![whole];
        while let Some(part) = waiting.pop() {
            if part.len() == 0 {
                continue;
            }
            let request = encode(&part.snapshot, part.ended.iter().map(|key| &**key), &self.resource);
            let length = request.len();
            if length > self.largest_request && part.len() > 1 {
                waiting.extend(part.split());
                continue;
            }
            let failed = match self.pusher.push(request, deadline.min(Instant::now() + self.timeout)).await {
                Ok(accepted) => {
                    is_any_accepted = true;
                    delivered.add(accepted);
                    continue;
                }
                Err(failed) => failed,
            };
            if failed.failure.is_about_size() && part.len() > 1 {
                self.largest_request = length / 2;
                waiting.push(part);
                continue;
            }
            if !may_search || !failed.failure.is_about_content() {
                delivered.failed = Some(failed);
                break;
            }
            refusals += 1;
            let is_vain = !is_any_accepted && refusals >= vain_after;
            if part.len() > 1 && refusals < SEARCH_REQUESTS && !is_vain {
                waiting.extend(part.split());
            } else if part.len() == 1 {
                let failure = failed.failure.clone();
                delivered.refused.extend(part.into_key().map(|key| Refused { key, failure }));
            }
            if refusals >= SEARCH_REQUESTS || is_vain {
                delivered.failed = Some(failed);
                break;
            }
        }
        delivered.is_refused_whole = !is_any_accepted && refusals > 0;
        if delivered.is_refused_whole {
            let last = delivered.refused.pop().map(|refused| Failed::for_good(refused.failure));
            delivered.failed = delivered.failed.or(last);
            delivered.refused.clear();
        }
        delivered
    }
}

impl Delivered {
    fn add(&mut self, accepted: Accepted) {
        self.accepted.rejected += accepted.rejected;
        if self.accepted.message.is_empty() {
            self.accepted.message = accepted.message;
        }
    }
}
