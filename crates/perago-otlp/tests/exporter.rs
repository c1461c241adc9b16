//! The exporter against a scripted endpoint: order, retries, partial success, flush and end.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::io::Read as _;
use std::time::Duration;

use axum::http::StatusCode;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use perago_otlp::{ExportEvent, Exporter, ExporterOptions, PushFailure, Secret};
use prost::Message as _;
use support::{names, resource, rig, rig_of, soon, source};
use tokio::time::Instant;

#[tokio::test]
async fn a_flush_pushes_with_the_headers_and_without_showing_them() {
    let mut rig = rig(Vec::new(), |options| {
        options.headers = vec![("authorization".to_owned(), Secret::new("Bearer hidden"))];
    })
    .await;
    rig.handle.flush(soon()).await.unwrap();
    let (headers, body) = rig.requests.recv().await.unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["authorization"], "Bearer hidden");
    assert!(!headers.contains_key("content-encoding"));
    assert_eq!(names(&body), ["app.depth", "app.items"]);
}

#[test]
fn options_never_show_what_may_be_secret() {
    let mut options =
        ExporterOptions::new("https://user:hidden@receiver/v1/metrics?token=hidden", resource());
    options.headers = vec![("authorization".to_owned(), Secret::new("Bearer hidden"))];
    options.proxies.https = Some("http://user:hidden@proxy".to_owned());
    let shown = format!("{options:?}");
    assert!(!shown.contains("hidden") && shown.contains("authorization"), "{shown}");
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
    let mut rig = rig(vec![(StatusCode::FORBIDDEN, None, b"not you".to_vec())], |_| {}).await;
    let failure = PushFailure::Status { status: 403, message: "not you".to_owned() };
    assert_eq!(rig.handle.flush(soon()).await, Err(failure.clone()));
    assert_eq!(rig.events.recv().await.unwrap(), ExportEvent::Failed { in_a_row: 1, failure, is_news: true });
    rig.handle.flush(soon()).await.unwrap();
    assert_eq!(rig.events.recv().await.unwrap(), ExportEvent::Recovered { failed: 1 });
    rig.requests.recv().await.unwrap();
    rig.requests.recv().await.unwrap();
    assert!(rig.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_server_that_asks_for_silence_gets_it_and_a_command_is_still_obeyed() {
    let mut rig = rig(vec![(StatusCode::SERVICE_UNAVAILABLE, Some("200"), Vec::new())], |options| {
        options.interval = Duration::from_millis(5);
    })
    .await;
    let failed = rig.events.recv().await.unwrap();
    assert!(matches!(failed, ExportEvent::Failed { in_a_row: 1, is_news: true, .. }), "{failed:?}");
    rig.requests.recv().await.unwrap();
    // Many intervals pass.
    let next = tokio::time::timeout(Duration::from_millis(100), rig.requests.recv()).await;
    assert!(next.is_err(), "a request in the time of silence");
    rig.handle.flush(soon()).await.unwrap();
    rig.requests.recv().await.unwrap();
    assert_eq!(rig.events.recv().await.unwrap(), ExportEvent::Recovered { failed: 1 });
    // And pushes at the interval go on.
    rig.requests.recv().await.unwrap();
}

#[tokio::test]
async fn every_failure_is_told_and_one_a_minute_is_news() {
    let refusal = (StatusCode::INTERNAL_SERVER_ERROR, None, Vec::new());
    let mut rig = rig(vec![refusal.clone(), refusal], |_| {}).await;
    for (expected_in_a_row, expected_news) in [(1, true), (2, false)] {
        rig.handle.flush(soon()).await.unwrap_err();
        match rig.events.recv().await.unwrap() {
            ExportEvent::Failed { in_a_row, is_news, .. } => {
                assert_eq!((in_a_row, is_news), (expected_in_a_row, expected_news));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_to_say_is_not_said() {
    let mut rig = rig_of(Vec::new(), perago_metrics::Snapshot::default, |_| {}).await;
    rig.handle.flush(soon()).await.unwrap();
    rig.handle.shutdown(soon()).await.unwrap();
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
