//! The exporter against a scripted endpoint: order, retries, partial success, flush and end.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::metric;
use perago_metrics::{Kind, Point, SeriesKey, Snapshot, Value};
use perago_otlp::{
    ExportEvent, Exporter, ExporterHandle, ExporterOptions, PushFailure, Resource, Secret, WorkerIdentity,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

type Reply = (StatusCode, Option<&'static str>, Vec<u8>);

/// Answers by a script, then with success; tells of each request.
struct Endpoint {
    script: Mutex<VecDeque<Reply>>,
    requests: mpsc::UnboundedSender<(HeaderMap, Bytes)>,
}

async fn answer(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap, body: Bytes) -> Response {
    let reply = endpoint.script.lock().unwrap().pop_front();
    endpoint.requests.send((headers, body)).unwrap();
    let (status, retry_after, body) = reply.unwrap_or((StatusCode::OK, None, Vec::new()));
    let mut response = (status, body).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.parse().unwrap());
    }
    response
}

struct Rig {
    handle: ExporterHandle,
    requests: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
    events: mpsc::UnboundedReceiver<ExportEvent>,
    loop_ended: tokio::task::JoinHandle<()>,
}

fn resource() -> Resource {
    Resource::new(WorkerIdentity { instance: "i", host: "h", state_directory: "/s" }, None, &[])
}

fn point(kind: Kind, name: &str, value: Value) -> Point {
    Point { key: Arc::new(SeriesKey::new(kind, name, vec![("task_name".into(), "t".into())])), value }
}

/// One histogram and one gauge; the gauge is gone from the third snapshot on.
fn source() -> impl FnMut() -> Snapshot + Send {
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

async fn rig(script: Vec<Reply>, change: impl FnOnce(&mut ExporterOptions)) -> Rig {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::unbounded_channel();
    let endpoint = Arc::new(Endpoint { script: Mutex::new(script.into()), requests: sender });
    let router = axum::Router::new().fallback(answer).with_state(endpoint);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let mut options = ExporterOptions::new(format!("http://{address}/opentelemetry/v1/metrics"), resource());
    options.interval = Duration::from_secs(3600);
    change(&mut options);
    let (event_sender, events) = mpsc::unbounded_channel();
    let (exporter, handle) =
        Exporter::new(options, source(), move |event| event_sender.send(event).unwrap()).unwrap();
    Rig { handle, requests, events, loop_ended: tokio::spawn(exporter.run()) }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Names of metrics; gauges with "no recorded value" are marked with `!`.
fn names(body: &[u8]) -> Vec<String> {
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

#[tokio::test]
async fn a_flush_pushes_with_the_headers_and_without_showing_them() {
    let mut rig = rig(Vec::new(), |options| {
        options.headers = vec![("authorization".to_owned(), Secret::new("Bearer hidden"))];
        assert!(!format!("{options:?}").contains("hidden"));
    })
    .await;
    rig.handle.flush(soon()).await.unwrap();
    let (headers, body) = rig.requests.recv().await.unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["authorization"], "Bearer hidden");
    assert!(!headers.contains_key("content-encoding"));
    assert_eq!(names(&body), ["app.depth", "app.items"]);
}

#[tokio::test]
async fn pushes_come_at_the_interval() {
    let mut rig = rig(Vec::new(), |options| options.interval = Duration::from_millis(5)).await;
    for expected in [
        &["app.depth", "app.items"][..],
        &["app.depth", "app.items"],
        &["app.items", "!app.depth"],
        &["app.items"],
    ] {
        assert_eq!(names(&rig.requests.recv().await.unwrap().1), expected);
    }
}

#[tokio::test]
async fn a_compressed_request_is_the_same_request() {
    let mut rig = rig(Vec::new(), |options| options.gzip = true).await;
    rig.handle.flush(soon()).await.unwrap();
    let (headers, body) = rig.requests.recv().await.unwrap();
    assert_eq!(headers["content-encoding"], "gzip");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
    assert_eq!(names(&plain), ["app.depth", "app.items"]);
}

#[tokio::test]
async fn listed_statuses_are_retried_with_the_same_values_after_the_time_that_the_server_asks_for() {
    let script =
        [429, 502, 503, 504].map(|status| (StatusCode::from_u16(status).unwrap(), Some("0"), Vec::new()));
    let mut rig = rig(script.to_vec(), |_| {}).await;
    rig.handle.flush(soon()).await.unwrap();
    let first = rig.requests.recv().await.unwrap().1;
    for _ in 0..4 {
        assert_eq!(rig.requests.recv().await.unwrap().1, first);
    }
    assert!(rig.requests.try_recv().is_err());
    assert!(rig.events.try_recv().is_err(), "a retried push has not failed");
}

#[tokio::test]
async fn a_refusal_is_not_retried_and_recovery_is_told() {
    let mut rig = rig(vec![(StatusCode::BAD_REQUEST, None, b"bad series".to_vec())], |_| {}).await;
    let failure = PushFailure::Status { status: 400, message: "bad series".to_owned() };
    assert_eq!(rig.handle.flush(soon()).await, Err(failure.clone()));
    assert_eq!(rig.events.recv().await.unwrap(), ExportEvent::Failed { in_a_row: 1, failure });
    rig.handle.flush(soon()).await.unwrap();
    assert_eq!(rig.events.recv().await.unwrap(), ExportEvent::Recovered { failed: 1 });
    rig.requests.recv().await.unwrap();
    rig.requests.recv().await.unwrap();
    assert!(rig.requests.try_recv().is_err());
}

#[tokio::test]
async fn partial_success_is_reported() {
    let partial =
        ExportMetricsPartialSuccess { rejected_data_points: 3, error_message: "too old".to_owned() };
    let body = ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let mut rig = rig(vec![(StatusCode::OK, None, body)], |_| {}).await;
    rig.handle.flush(soon()).await.unwrap();
    let expected = ExportEvent::PartialSuccess { rejected: 3, message: "too old".to_owned() };
    assert_eq!(rig.events.recv().await.unwrap(), expected);
}

#[tokio::test]
async fn a_shutdown_pushes_the_last_values_then_ends_every_gauge_and_the_loop() {
    let mut rig = rig(Vec::new(), |_| {}).await;
    rig.handle.shutdown(soon()).await.unwrap();
    let first = rig.requests.recv().await.unwrap().1;
    let last = rig.requests.recv().await.unwrap().1;
    assert_eq!(names(&first), ["app.depth", "app.items"]);
    assert_eq!(names(&last), ["!app.depth"]);
    rig.loop_ended.await.unwrap();
    assert_eq!(rig.handle.flush(soon()).await, Ok(()), "nothing is left to push");
}

#[tokio::test]
async fn a_dead_endpoint_holds_a_shutdown_no_longer_than_its_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Connections are taken by the kernel and never answered.
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (exporter, handle) =
        Exporter::new(ExporterOptions::new(endpoint, resource()), source(), |_| {}).unwrap();
    let loop_ended = tokio::spawn(exporter.run());
    let started = Instant::now();
    let result = handle.shutdown(started + Duration::from_millis(200)).await;
    assert_eq!(result, Err(PushFailure::Deadline));
    loop_ended.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_push_at_the_interval_gives_way_to_a_shutdown() {
    let mut rig = rig(vec![(StatusCode::SERVICE_UNAVAILABLE, Some("3600"), Vec::new())], |options| {
        options.interval = Duration::from_millis(1);
        options.timeout = Duration::from_secs(7200);
    })
    .await;
    // It now waits an hour for its retry.
    rig.requests.recv().await.unwrap();
    rig.handle.shutdown(soon()).await.unwrap();
    assert_eq!(names(&rig.requests.recv().await.unwrap().1), ["app.depth", "app.items"]);
    rig.loop_ended.await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_used_is_refused() {
    for endpoint in ["", "localhost:8428", "ftp://h/", "grpc://h:4317"] {
        let options = ExporterOptions::new(endpoint, resource());
        assert!(Exporter::new(options, source(), |_| {}).is_err(), "{endpoint}");
    }
}
