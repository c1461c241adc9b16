//! Reading an arena while it is written, and while its writers are killed: no total takes over another's value, and
//! none falls.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use perago_metrics::{Recorder, Snapshot, Value};
use support::Bench;

const SMALL: f64 = 1.0;
const LARGE: f64 = 1e6;
/// Samples that a writer may record during one reading: a sum may be ahead of its count by as many.
const AHEAD: f64 = 10_000.0;

/// Records in turn into series whose counts are the same and whose sums are far apart, until it is killed.
fn record_for_ever(recorder: &Recorder) {
    let small = recorder.bind_histogram("small", &[]);
    let large = recorder.bind_histogram("large", &[]);
    let gauge = recorder.bind_gauge("gauge", &[]);
    loop {
        small.record(SMALL);
        large.record(LARGE);
        gauge.set(SMALL);
    }
}

fn start_writer(recorder: &Recorder) -> libc::pid_t {
    // SAFETY: the child records on its only thread until it is killed.
    match unsafe { libc::fork() } {
        0 => {
            record_for_ever(recorder);
            std::process::abort()
        }
        child => child,
    }
}

fn kill(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `child` is ours and has not been waited for; `status` is a valid place.
    unsafe {
        assert_eq!(libc::kill(child, libc::SIGKILL), 0);
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
    }
}

/// Checks every series against itself and against its last reading.
fn check(snapshot: &Snapshot, last: &mut HashMap<String, (u64, f64)>) {
    for point in &snapshot.points {
        let name = point.key.name();
        match &point.value {
            Value::Histogram { counts, sum, .. } => {
                let (count, value) =
                    (counts.iter().sum::<u64>(), if name == "app.small" { SMALL } else { LARGE });
                let samples = sum / value;
                assert!((samples - count as f64).abs() < AHEAD, "{name}: {count} samples, sum {sum}");
                let before = last.insert(name.to_owned(), (count, *sum)).unwrap_or_default();
                assert!(count >= before.0 && *sum >= before.1, "{name}: {before:?}, then {count} and {sum}");
            }
            other => assert_eq!(*other, Value::Gauge(SMALL)),
        }
    }
}

#[test]
fn a_reading_never_mixes_samples_and_no_total_falls_when_the_writer_is_killed() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    let mut last = HashMap::new();
    let ends_at = Instant::now() + Duration::from_secs(3);
    let mut readings = 0_u64;
    while Instant::now() < ends_at {
        let child = start_writer(&recorder);
        let killed_at = Instant::now() + Duration::from_millis(20);
        while Instant::now() < killed_at {
            check(&bench.snapshot(), &mut last);
            readings += 1;
        }
        kill(child);
        check(&bench.snapshot(), &mut last);
    }
    assert!(readings > 100, "{readings}");
}
