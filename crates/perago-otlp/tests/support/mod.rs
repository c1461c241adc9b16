//! A scripted receiver and an exporter that pushes to it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric;
use perago_metrics::{Kind, Point, SeriesKey, Snapshot, Value};
use perago_otlp::{ExportEvent, Exporter, ExporterHandle, ExporterOptions, Resource, WorkerIdentity};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) type Reply = (StatusCode, Option<&'static str>, Vec<u8>);

/// The status of an answer to a request.
type Judge = Box<dyn Fn(&[u8]) -> StatusCode + Send + Sync>;

/// Answers by a script, then as it judges; tells of each request.
struct Endpoint {
    script: Mutex<VecDeque<Reply>>,
    judge: Judge,
    requests: mpsc::UnboundedSender<(HeaderMap, Bytes)>,
}

async fn answer(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap, body: Bytes) -> Response {
    let reply = endpoint.script.lock().unwrap().pop_front();
    let (status, retry_after, text) = reply.unwrap_or_else(|| ((endpoint.judge)(&body), None, Vec::new()));
    // A test that has ended listens no more.
    drop(endpoint.requests.send((headers, body)));
    let mut response = (status, text).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.parse().unwrap());
    }
    response
}

pub(crate) struct Rig {
    pub(crate) handle: ExporterHandle,
    pub(crate) requests: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
    pub(crate) events: mpsc::UnboundedReceiver<ExportEvent>,
    pub(crate) loop_ended: tokio::task::JoinHandle<()>,
}

pub(crate) fn resource() -> Resource {
    Resource::new(WorkerIdentity { instance: "i", host: "h", state_directory: "/s" }, None, &[])
}

pub(crate) fn point(kind: Kind, name: &str, value: Value) -> Point {
    Point { key: Arc::new(SeriesKey::new(kind, name, vec![("task_name".into(), "t".into())])), value }
}

/// One histogram and one gauge; the gauge is gone from the third snapshot on.
pub(crate) fn source() -> impl FnMut() -> Snapshot + Send {
    let mut taken = 0;
    move || {
        taken += 1;
        let counts = vec![taken, 0];
        let histogram = Value::Histogram { bounds: Arc::new([1.0]), counts, sum: 0.5 };
        let mut points = vec![point(Kind::Histogram, "app.items", histogram)];
        if taken < 3 {
            points.insert(0, point(Kind::Gauge, "app.depth", Value::Gauge(7.0)));
        }
        Snapshot { start_unix_nanos: 1, time_unix_nanos: 1_000, points, ..Snapshot::default() }
    }
}

pub(crate) async fn rig(script: Vec<Reply>, change: impl FnOnce(&mut ExporterOptions)) -> Rig {
    rig_of(script, source(), change).await
}

/// An exporter of `source`, and a receiver that judges what it gets.
pub(crate) async fn judged_rig(
    judge: impl Fn(&[u8]) -> StatusCode + Send + Sync + 'static,
    source: impl FnMut() -> Snapshot + Send + 'static,
) -> Rig {
    start(Vec::new(), Box::new(judge), source, |_| {}).await
}

/// An exporter of `source`, and its receiver.
pub(crate) async fn rig_of(
    script: Vec<Reply>,
    source: impl FnMut() -> Snapshot + Send + 'static,
    change: impl FnOnce(&mut ExporterOptions),
) -> Rig {
    start(script, Box::new(|_| StatusCode::OK), source, change).await
}

async fn start(
    script: Vec<Reply>,
    judge: Judge,
    source: impl FnMut() -> Snapshot + Send + 'static,
    change: impl FnOnce(&mut ExporterOptions),
) -> Rig {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::unbounded_channel();
    let endpoint = Arc::new(Endpoint { script: Mutex::new(script.into()), judge, requests: sender });
    let router = axum::Router::new().fallback(answer).with_state(endpoint);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let mut options = ExporterOptions::new(format!("http://{address}/opentelemetry/v1/metrics"), resource());
    options.interval = Duration::from_secs(3600);
    change(&mut options);
    let (event_sender, events) = mpsc::unbounded_channel();
    let (exporter, handle) =
        Exporter::new(options, source, move |event| drop(event_sender.send(event))).unwrap();
    Rig { handle, requests, events, loop_ended: tokio::spawn(exporter.run()) }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Names of metrics; gauges with "no recorded value" are marked with `!`.
pub(crate) fn names(body: &[u8]) -> Vec<String> {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    request.resource_metrics[0].scope_metrics[0]
        .metrics
        .iter()
        .map(|metric| match &metric.data {
            Some(metric::Data::Gauge(gauge)) if gauge.data_points[0].flags == 1 => {
                format!("!{}", metric.name)
            }
            _ => metric.name.clone(),
        })
        .collect()
}
