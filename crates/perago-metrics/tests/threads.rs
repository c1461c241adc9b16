//! Threads that record beside the body and after it.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::sync::{Barrier, mpsc};

use perago_metrics::Kind;
use support::{Bench, find, histogram};

const TASK: (&str, &str) = ("task_name", "audio.transcribe");

#[test]
fn a_thread_that_outlives_its_body_is_counted() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    let (handle, late) = (recorder.bind_histogram("bound", &[]), recorder.clone());
    let (go, waits) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        waits.recv().unwrap();
        for value in 0..1_000_u32 {
            handle.record(f64::from(value));
            late.histogram("named", 1.0, &[("stage", "late")]);
        }
    });
    // The attempt ends, and the next one goes on in the same slot.
    drop(recorder);
    let next = bench.recorder("0");
    next.histogram("named", 1.0, &[("stage", "next")]);
    go.send(()).unwrap();
    thread.join().unwrap();
    let snapshot = bench.snapshot();
    assert_eq!(histogram(&snapshot, "app.bound", &[TASK]), (1_000, 999.0 * 500.0));
    assert_eq!(histogram(&snapshot, "app.named", &[TASK, ("stage", "late")]), (1_000, 1_000.0));
    assert_eq!(histogram(&snapshot, "app.named", &[TASK, ("stage", "next")]), (1, 1.0));
}

#[test]
fn eight_threads_that_meet_at_a_new_series_make_one() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..50 {
                    barrier.wait();
                    recorder.histogram(&format!("items{round}"), 1.0, &[("stage", "decode")]);
                    recorder.gauge("depth", f64::from(round), &[]);
                }
            });
        }
    });
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.points.len(), 51);
    for round in 0..50 {
        assert_eq!(histogram(&snapshot, &format!("app.items{round}"), &[TASK, ("stage", "decode")]).0, 8);
    }
    assert_eq!(snapshot.points.iter().filter(|point| point.key.kind() == Kind::Gauge).count(), 1);
    assert_eq!(find(&snapshot, "app.depth", &[TASK]), Some(&perago_metrics::Value::Gauge(49.0)));
}
