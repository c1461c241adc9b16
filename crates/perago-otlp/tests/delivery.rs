//! Bounded requests, and series that a receiver refuses.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use perago_metrics::{Kind, Point, SeriesKey, Snapshot, Value};
use perago_otlp::{ExportEvent, PushFailure};
use support::{Rig, judged_rig, names, rig_of, soon};

/// `count` gauges `app.0` to `app.<count - 1>`, of which those in `bad` are called `app.bad<number>`.
fn gauges(count: usize, bad: &'static [usize]) -> impl FnMut() -> Snapshot + Send {
    move || {
        let name = |number: usize| {
            if bad.contains(&number) { format!("app.bad{number}") } else { format!("app.{number}") }
        };
        let labels = || vec![("task_name".into(), "t".into()), ("stage".into(), "a\"b".into())];
        let points = (0..count)
            .map(|number| Point {
                key: Arc::new(SeriesKey::new(Kind::Gauge, &name(number), labels())),
                value: Value::Gauge(1.0),
            })
            .collect();
        Snapshot { start_unix_nanos: 1, time_unix_nanos: 1_000, points, ..Snapshot::default() }
    }
}

fn refuses_bad(body: &[u8]) -> StatusCode {
    let is_bad = names(body).iter().any(|name| name.contains("bad"));
    if is_bad { StatusCode::BAD_REQUEST } else { StatusCode::OK }
}

/// Names in the requests that were accepted, and how many requests there were.
fn received(rig: &mut Rig, judge: fn(&[u8]) -> StatusCode) -> (BTreeSet<String>, usize) {
    let (mut accepted, mut requests) = (BTreeSet::new(), 0);
    while let Ok((_, body)) = rig.requests.try_recv() {
        requests += 1;
        if judge(&body).is_success() {
            accepted.extend(names(&body));
        }
    }
    (accepted, requests)
}

fn events(rig: &mut Rig) -> Vec<ExportEvent> {
    std::iter::from_fn(|| rig.events.try_recv().ok()).collect()
}

#[tokio::test]
async fn one_refused_series_is_found_and_the_rest_arrives() {
    let mut rig = judged_rig(refuses_bad, gauges(1_000, &[317])).await;
    rig.handle.flush(soon()).await.unwrap();
    let (accepted, requests) = received(&mut rig, refuses_bad);
    assert_eq!(accepted.len(), 999);
    assert!(requests <= 2 * 10 + 1, "{requests} requests");
    let [ExportEvent::SeriesRefused { metric_name, labels, failure }] = &events(&mut rig)[..] else {
        panic!("one series is at fault")
    };
    assert_eq!(metric_name, "app.bad317");
    assert_eq!(labels, r#"stage="a\"b",task_name="t""#);
    assert!(matches!(failure, PushFailure::Status { status: 400, .. }));

    // It is left out from then on, so that nothing has to be looked for, and is not ended as a gauge.
    rig.handle.flush(soon()).await.unwrap();
    let (accepted, requests) = received(&mut rig, refuses_bad);
    assert_eq!((accepted.len(), requests), (999, 1));
    rig.handle.shutdown(soon()).await.unwrap();
    let (accepted, requests) = received(&mut rig, refuses_bad);
    assert_eq!(requests, 2);
    assert!(accepted.contains("!app.0") && !accepted.iter().any(|name| name.contains("bad")));
    assert_eq!(events(&mut rig), []);
}

#[tokio::test]
async fn many_refused_series_are_found_in_bounded_steps_over_several_pushes() {
    const BAD: &[usize] = &[3, 100, 250, 251, 252, 400, 555, 700, 801, 999];
    let mut rig = judged_rig(refuses_bad, gauges(1_000, BAD)).await;
    let mut found = BTreeSet::new();
    for push in 1.. {
        let result = rig.handle.flush(soon()).await;
        let (accepted, requests) = received(&mut rig, refuses_bad);
        assert!(requests <= 128, "{requests} requests in one push");
        for event in events(&mut rig) {
            match event {
                ExportEvent::SeriesRefused { metric_name, .. } => assert!(found.insert(metric_name)),
                ExportEvent::Failed { .. } => assert!(result.is_err()),
                ExportEvent::Recovered { .. } => assert!(result.is_ok()),
                partial @ ExportEvent::PartialSuccess { .. } => panic!("{partial:?}"),
            }
        }
        if result.is_ok() {
            assert_eq!(accepted.len(), 1_000 - BAD.len());
            break;
        }
        assert!(push < 10, "the search makes no progress: {found:?}");
    }
    assert_eq!(found.len(), BAD.len());
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_blames_no_series_and_is_not_searched_again() {
    let mut rig = judged_rig(|_| StatusCode::BAD_REQUEST, gauges(1_000, &[])).await;
    for (push, most) in [(1, 24), (2, 1), (3, 1)] {
        rig.handle.flush(soon()).await.unwrap_err();
        let (_, requests) = received(&mut rig, |_| StatusCode::BAD_REQUEST);
        assert!(requests <= most, "{requests} requests in push {push}");
    }
    let told = events(&mut rig);
    assert!(told.iter().all(|event| matches!(event, ExportEvent::Failed { .. })), "{told:?}");
}

#[tokio::test]
async fn other_refusals_are_not_about_a_series() {
    for status in [401, 403, 404, 405, 500, 501] {
        let status = StatusCode::from_u16(status).unwrap();
        let mut rig = judged_rig(move |_| status, gauges(100, &[])).await;
        rig.handle.flush(soon()).await.unwrap_err();
        assert_eq!(received(&mut rig, |_| StatusCode::OK).1, 1, "{status}");
    }
}

#[tokio::test]
async fn requests_get_smaller_for_a_receiver_that_takes_less() {
    fn takes_little(body: &[u8]) -> StatusCode {
        if body.len() > 20_000 { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::OK }
    }
    let mut rig = judged_rig(takes_little, gauges(2_000, &[])).await;
    rig.handle.flush(soon()).await.unwrap();
    assert_eq!(received(&mut rig, takes_little).0.len(), 2_000);
    // It has learnt: the second push is refused nothing.
    rig.handle.flush(soon()).await.unwrap();
    let mut accepted = BTreeSet::new();
    while let Ok((_, body)) = rig.requests.try_recv() {
        assert_eq!(takes_little(&body), StatusCode::OK);
        accepted.extend(names(&body));
    }
    assert_eq!(accepted.len(), 2_000);
    assert_eq!(events(&mut rig), []);
}

#[tokio::test]
async fn no_request_is_larger_than_eight_mebibytes() {
    let bounds: Arc<[f64]> = (0..1_000).map(f64::from).collect();
    let source = move || {
        let points = (0..1_500)
            .map(|number| Point {
                key: Arc::new(SeriesKey::new(Kind::Histogram, &format!("app.{number}"), Vec::new())),
                value: Value::Histogram { bounds: Arc::clone(&bounds), counts: vec![1; 1_001], sum: 1.0 },
            })
            .collect();
        Snapshot { start_unix_nanos: 1, time_unix_nanos: 1_000, points, ..Snapshot::default() }
    };
    let mut rig = rig_of(Vec::new(), source, |_| {}).await;
    rig.handle.flush(soon()).await.unwrap();
    let mut accepted = BTreeSet::new();
    let mut total = 0;
    while let Ok((_, body)) = rig.requests.try_recv() {
        assert!(body.len() <= 8 << 20, "{} bytes", body.len());
        total += body.len();
        accepted.extend(names(&body));
    }
    assert!(total > 16 << 20, "{total} bytes prove nothing");
    assert_eq!(accepted.len(), 1_500);
}
