//! Recording through an arena and reading it back, over threads, forks, restarts and kills.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::sync::{Arc, Mutex};

use perago_metrics::{
    ArenaOptions, Kind, LadderRules, MetricWarning, OVERFLOW_LABEL, Reason, RecorderOptions, StoreEvent,
    StoreOptions, Value,
};
use support::{Bench, find, histogram};

const TASK: (&str, &str) = ("task_name", "audio.transcribe");

#[test]
fn the_page_s_calls_arrive_under_its_names_and_labels() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    recorder.gauge("queue_depth", 3.0, &[]);
    recorder.histogram("audio_chunks", 12.0, &[("stage", "decode"), ("format", "wav")]);
    recorder.histogram("model_call", 0.25, &[("provider", "openai")]);
    recorder.runtime_histogram("workspace_io_duration_seconds", &[("operation", "upload")]).record(1.5);
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.points.len(), 4);
    assert_eq!(*find(&snapshot, "app.queue_depth", &[TASK]).unwrap(), Value::Gauge(3.0));
    assert_eq!(
        histogram(&snapshot, "app.audio_chunks", &[("format", "wav"), ("stage", "decode"), TASK]),
        (1, 12.0)
    );
    assert_eq!(histogram(&snapshot, "app.model_call", &[("provider", "openai"), TASK]), (1, 0.25));
    assert_eq!(
        histogram(&snapshot, "runtime.workspace_io_duration_seconds", &[("operation", "upload"), TASK]),
        (1, 1.5)
    );
}

#[test]
fn totals_go_on_after_executor_and_supervisor_restart() {
    let mut bench = Bench::new();
    let start = bench.snapshot().start_unix_nanos;
    for round in 1..=3_u32 {
        bench.store.begin_generation("0").unwrap();
        let recorder = bench.recorder("0");
        recorder.histogram("items", 2.0, &[("kind", "a")]);
        assert_eq!(
            histogram(&bench.snapshot(), "app.items", &[("kind", "a"), TASK]),
            (u64::from(round), f64::from(2 * round))
        );
        drop(recorder);
        bench.reopen();
        let snapshot = bench.snapshot();
        assert_eq!(snapshot.points.len(), 1);
        assert_eq!(snapshot.start_unix_nanos, start);
    }
}

#[test]
fn the_worker_s_counters_go_on_over_restarts_and_appear_with_the_first_addition() {
    let mut bench = Bench::new();
    let causes = [("cause", "signal"), TASK];
    for total in [0.0, 3.0, 6.0] {
        let recorder = bench.recorder("0");
        let counter = recorder.worker_counter("executor_restarts_total", &[("cause", "signal")]);
        if total == 0.0 {
            assert!(bench.snapshot().points.is_empty());
            counter.add(0.0);
        } else {
            counter.add(1.0);
            recorder.worker_counter("executor_restarts_total", &[("cause", "signal")]).add(2.0);
        }
        let snapshot = bench.snapshot();
        let found = find(&snapshot, "perago.executor_restarts_total", &causes);
        assert_eq!(*found.unwrap(), Value::Counter(total));
        drop((counter, recorder));
        bench.reopen();
        assert_eq!(bench.snapshot().points, snapshot.points);
    }
}

#[test]
fn slots_are_summed_and_gauges_take_the_latest_write() {
    let mut bench = Bench::new();
    let recorders = ["0", "1", "2"].map(|slot| bench.recorder(slot));
    for (depth, recorder) in [5.0, 9.0, 7.0].into_iter().zip(&recorders) {
        recorder.histogram("items", 1.0, &[]);
        recorder.gauge("depth", depth, &[]);
    }
    recorders[1].gauge("depth", 4.0, &[]);
    let snapshot = bench.snapshot();
    assert_eq!(histogram(&snapshot, "app.items", &[TASK]), (3, 3.0));
    assert_eq!(*find(&snapshot, "app.depth", &[TASK]).unwrap(), Value::Gauge(4.0));
    assert_eq!(snapshot.points.len(), 2);
}

#[test]
fn gauges_of_a_dead_generation_are_not_exported() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    recorder.gauge("depth", 1.0, &[]);
    recorder.histogram("items", 1.0, &[]);
    bench.store.end_generation("0").unwrap();
    let snapshot = bench.snapshot();
    assert!(find(&snapshot, "app.depth", &[TASK]).is_none());
    assert_eq!(histogram(&snapshot, "app.items", &[TASK]), (1, 1.0));
    bench.store.begin_generation("0").unwrap();
    assert!(find(&bench.snapshot(), "app.depth", &[TASK]).is_none());
    bench.recorder("0").gauge("depth", 2.0, &[]);
    assert_eq!(*find(&bench.snapshot(), "app.depth", &[TASK]).unwrap(), Value::Gauge(2.0));
}

#[test]
fn gauges_of_an_earlier_boot_are_not_exported() {
    use std::os::unix::fs::FileExt as _;
    let mut bench = Bench::new();
    bench.recorder("0").gauge("depth", 1.0, &[]);
    let path = bench.store.slot("0").unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut stamp = [0; 40];
    file.read_exact_at(&mut stamp, 128).unwrap();
    stamp[0] ^= 1;
    file.write_all_at(&stamp, 128).unwrap();
    file.write_all_at(&crc32fast::hash(&stamp).to_le_bytes(), 168).unwrap();
    assert!(bench.snapshot().points.is_empty());
}

#[test]
fn eight_threads_and_more_than_there_are_shards_lose_nothing() {
    let options = ArenaOptions { shards: 3, ..ArenaOptions::default() };
    let mut bench = Bench::with(StoreOptions { arena: options, ..StoreOptions::default() });
    let recorder = bench.recorder("0");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let recorder = &recorder;
            scope.spawn(move || {
                let label = thread.to_string();
                for value in 0..5_000_u32 {
                    recorder.histogram("items", f64::from(value), &[]);
                    recorder.histogram("by_thread", 1.0, &[("thread", &label)]);
                }
            });
        }
    });
    let snapshot = bench.snapshot();
    assert_eq!(histogram(&snapshot, "app.items", &[TASK]), (40_000, 8.0 * 5_000.0 * 4_999.0 / 2.0));
    for thread in 0..8 {
        assert_eq!(
            histogram(&snapshot, "app.by_thread", &[TASK, ("thread", &thread.to_string())]),
            (5_000, 5_000.0)
        );
    }
}

#[test]
fn shards_of_ended_threads_are_used_again() {
    let options = ArenaOptions { shards: 2, ..ArenaOptions::default() };
    let mut bench = Bench::with(StoreOptions { arena: options, ..StoreOptions::default() });
    let recorder = bench.recorder("0");
    for _ in 0..50 {
        std::thread::scope(|scope| {
            scope.spawn(|| recorder.histogram("items", 1.0, &[]));
        });
    }
    assert_eq!(histogram(&bench.snapshot(), "app.items", &[TASK]), (50, 50.0));
}

#[test]
fn bad_content_is_dropped_counted_and_warned_about_once() {
    let mut bench = Bench::new();
    let warnings = Arc::new(Mutex::new(Vec::<MetricWarning>::new()));
    let sink = Arc::clone(&warnings);
    let options = RecorderOptions::new("audio.transcribe", move |warning| sink.lock().unwrap().push(warning));
    let recorder = bench.recorder_with("0", options);
    for _ in 0..5 {
        recorder.histogram("items", f64::NAN, &[]);
        recorder.histogram("items", -1.0, &[]);
        recorder.gauge("depth", f64::INFINITY, &[]);
        recorder.histogram("no spaces", 1.0, &[]);
        recorder.histogram("items", 1.0, &[("task_id", "7")]);
        recorder.gauge("items", 1.0, &[]);
        recorder.gauge("items_count", 1.0, &[]);
    }
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.points.len(), 1);
    assert_eq!(histogram(&snapshot, "app.items", &[TASK]), (5, 5.0));
    let counted: Vec<(Reason, u64)> =
        Reason::ALL.into_iter().zip(snapshot.dropped).filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        counted,
        [
            (Reason::InvalidName, 5),
            (Reason::NotFinite, 10),
            (Reason::Negative, 5),
            (Reason::KindClash, 5),
            (Reason::SeriesClash, 5),
            (Reason::ReservedLabel, 5),
        ]
    );
    let warned: Vec<(String, Reason)> = warnings
        .lock()
        .unwrap()
        .iter()
        .map(|warning| (warning.metric_name.clone(), warning.reason))
        .collect();
    let expected = [
        ("app.items", Reason::NotFinite),
        ("app.items", Reason::Negative),
        ("app.depth", Reason::NotFinite),
        ("no spaces", Reason::InvalidName),
        ("app.items", Reason::ReservedLabel),
        ("app.items", Reason::KindClash),
        ("app.items_count", Reason::SeriesClash),
    ];
    assert_eq!(warned, expected.map(|(name, reason)| (name.to_owned(), reason)));
}

#[test]
fn label_sets_beyond_the_cap_go_to_one_overflow_series_with_one_warning() {
    let mut bench = Bench::new();
    let warnings = Arc::new(Mutex::new(Vec::<MetricWarning>::new()));
    let sink = Arc::clone(&warnings);
    let options = RecorderOptions {
        label_sets: 10,
        ..RecorderOptions::new("audio.transcribe", move |warning| sink.lock().unwrap().push(warning))
    };
    let recorder = bench.recorder_with("0", options);
    for user in 0..50_000 {
        recorder.histogram("calls", 1.0, &[("stage", "decode"), ("user", &user.to_string())]);
    }
    recorder.histogram("other", 1.0, &[]);
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.points.len(), 12);
    assert_eq!(histogram(&snapshot, "app.calls", &[(OVERFLOW_LABEL, "true"), TASK]), (49_990, 49_990.0));
    assert_eq!(histogram(&snapshot, "app.other", &[TASK]), (1, 1.0));
    let warnings = warnings.lock().unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!((warnings[0].reason, &*warnings[0].label_key), (Reason::LabelSets, "user"));
}

#[test]
fn the_cap_counts_the_label_sets_of_all_slots() {
    let mut bench = Bench::with(StoreOptions { label_sets: 3, ..StoreOptions::default() });
    for slot in ["0", "1"] {
        let recorder = bench.recorder_with(slot, RecorderOptions::new("audio.transcribe", |_| {}));
        for user in 0..4 {
            recorder.histogram("calls", 1.0, &[("user", &format!("{slot}-{user}"))]);
        }
        bench.snapshot();
    }
    for _ in 0..2 {
        let snapshot = bench.snapshot();
        assert_eq!(snapshot.points.len(), 4);
        assert_eq!(histogram(&snapshot, "app.calls", &[(OVERFLOW_LABEL, "true"), TASK]), (5, 5.0));
        bench.reopen();
    }
}

#[test]
fn a_full_arena_drops_new_series_and_keeps_the_old_ones() {
    let options = ArenaOptions { series: 2, ..ArenaOptions::default() };
    let mut bench = Bench::with(StoreOptions { arena: options, ..StoreOptions::default() });
    let recorder = bench.recorder_with("0", RecorderOptions::new("audio.transcribe", |_| {}));
    for _ in 0..2 {
        for name in ["a", "b", "c"] {
            recorder.histogram(name, 1.0, &[]);
        }
    }
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.points.len(), 2);
    assert_eq!(histogram(&snapshot, "app.b", &[TASK]), (2, 2.0));
    assert_eq!(snapshot.dropped[Reason::ArenaFull as usize], 2);
}

#[test]
fn changed_bounds_carry_the_old_counts() {
    let mut bench = Bench::new();
    bench.recorder("0").histogram("items", 3.0, &[]);
    let ladders = LadderRules::new([("items", &[4.0, 5.0, 100.0][..])]).unwrap();
    bench.options.ladders = ladders.clone();
    bench.reopen();
    let options = RecorderOptions { ladders, ..RecorderOptions::new("audio.transcribe", |_| {}) };
    bench.recorder_with("0", options).histogram("items", 4.5, &[]);
    let snapshot = bench.snapshot();
    let Some(Value::Histogram { bounds, counts, sum }) = find(&snapshot, "app.items", &[TASK]) else {
        panic!("no histogram in {snapshot:?}")
    };
    // 3.0 was counted at or below 5.
    assert_eq!((&**bounds, &**counts, *sum), (&[4.0, 5.0, 100.0][..], &[0, 2, 0, 0][..], 7.5));
}

#[test]
fn two_executors_that_disagree_on_a_kind_export_one_of_them() {
    let mut bench = Bench::new();
    bench.recorder("0").histogram("items", 1.0, &[]);
    bench.recorder("1").gauge("items", 7.0, &[]);
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.points.len(), 1);
    assert_eq!(snapshot.points[0].key.kind(), Kind::Histogram);
    let events = bench.store.take_events();
    assert!(
        matches!(&events[..], [StoreEvent::Refused { metric_name, reason: Reason::KindClash }] if metric_name == "app.items"),
        "{events:?}"
    );
}
