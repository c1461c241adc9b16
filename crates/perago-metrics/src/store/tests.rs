//! Folding, changed layouts and restarts, with a kill between any two steps.

use proptest::prelude::*;

use super::*;
use crate::ladder::Form;
use crate::recorder::{Recorder, RecorderOptions};
use crate::snapshot::Value;
use crate::writer::ArenaWriter;

const METRICS: [&str; 3] = ["app.calls", "app.wait_seconds", "app.read_bytes"];

fn options() -> StoreOptions {
    let arena = ArenaOptions { shards: 2, series: 12, blob_bytes: 32 * 1024, cell_words: 1_000 };
    StoreOptions { arena, label_sets: 3, ..StoreOptions::default() }
}

fn open(directory: &Path, options: &StoreOptions) -> ArenaStore {
    let mut store = ArenaStore::open(directory, options.clone()).unwrap();
    store.end_all_generations().unwrap();
    store
}

/// Records in slot `slot` as an executor does that then ends.
fn record(store: &mut ArenaStore, slot: &str, record: impl FnOnce(&Recorder) + Send) {
    store.begin_generation(slot).unwrap();
    let path = store.slot(slot).unwrap();
    let ladders = store.options.ladders.clone();
    std::thread::scope(|scope| {
        let executor = scope.spawn(move || {
            let options = RecorderOptions { ladders, ..RecorderOptions::new("t", |_| {}) };
            record(&Recorder::new(ArenaWriter::open(&path).unwrap(), options));
        });
        // The scope alone does not wait for the thread to give back its shard.
        executor.join().unwrap();
    });
}

/// Name, labels but for the task's, count and sum of every histogram.
fn totals(snapshot: &Snapshot) -> Vec<(String, String, u64, f64)> {
    let mut totals: Vec<_> = snapshot
        .points
        .iter()
        .filter_map(|point| {
            let (count, sum) = match &point.value {
                Value::Histogram { counts, sum, .. } => (counts.iter().sum(), *sum),
                Value::Exponential { zero_count, counts, sum, .. } => {
                    (counts.iter().sum::<u64>() + zero_count, *sum)
                }
                Value::Counter(total) => (0, *total),
                Value::Gauge(_) => return None,
            };
            let labels = point.key.labels().iter().filter(|(key, _)| **key != *"task_name");
            let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
            Some((point.key.name().to_owned(), labels.join(","), count, sum))
        })
        .collect();
    totals.sort_by(|left, right| left.partial_cmp(right).expect("no sum is NaN"));
    totals
}

fn gauges(snapshot: &Snapshot) -> usize {
    snapshot.points.iter().filter(|point| matches!(point.value, Value::Gauge(_))).count()
}

fn arena_files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(EXTENSION));
    names.sort();
    names
}

/// Eight slots with samples, more label sets than the cap among them, exported once.
fn eight_slots(directory: &Path) -> ArenaStore {
    let mut store = open(directory, &options());
    for slot in 0..8_u32 {
        record(&mut store, &format!("slot-{slot}"), |recorder| {
            recorder.histogram("calls", f64::from(slot), &[]);
            recorder.histogram("wait_seconds", 2.0, &[("stage", &(slot % 5).to_string())]);
            recorder.gauge("depth", f64::from(slot), &[("slot", "x")]);
            recorder.worker_counter("restarts", &[]).add(f64::from(slot));
            recorder.histogram("calls", -1.0, &[]);
        });
    }
    store.snapshot();
    store
}

fn names(slots: u32) -> Vec<String> {
    (0..slots).map(|slot| format!("slot-{slot}")).collect()
}

#[test]
fn slots_are_removed_without_a_change_of_totals() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = eight_slots(directory.path());
    let before = store.snapshot();
    assert_eq!((totals(&before).len(), gauges(&before)), (5, 1), "{before:?}");
    for slots in [2, 1] {
        store = open(directory.path(), &options());
        store.retire_others(&names(slots));
        let after = store.snapshot();
        assert_eq!(totals(&after), totals(&before));
        assert_eq!((after.start_unix_nanos, after.dropped), (before.start_unix_nanos, before.dropped));
        assert_eq!(gauges(&after), 0);
        assert_eq!(arena_files(directory.path()).len(), slots as usize);
    }
    store = open(directory.path(), &options());
    assert_eq!(totals(&store.snapshot()), totals(&before));
    record(&mut store, "slot-7", |recorder| recorder.histogram("calls", 1.0, &[]));
    let after = totals(&store.snapshot());
    assert_eq!((after[0].2, before.points.len()), (9, 6));
}

#[test]
fn a_kill_between_any_two_steps_of_folding_loses_and_doubles_nothing() {
    let mut crashes = 0;
    for points in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let mut store = eight_slots(directory.path());
        let before = store.snapshot();
        drop(store);
        let crash = crate::crash::at(points, || {
            let mut store = open(directory.path(), &options());
            store.retire_others(&names(2));
            assert_eq!(totals(&store.snapshot()), totals(&before));
        });
        let mut store = open(directory.path(), &options());
        assert_eq!(totals(&store.snapshot()), totals(&before), "killed after {points} steps");
        store.retire_others(&names(1));
        let after = store.snapshot();
        assert_eq!(totals(&after), totals(&before), "killed after {points} steps, then folded");
        assert_eq!((after.start_unix_nanos, after.dropped), (before.start_unix_nanos, before.dropped));
        assert_eq!(arena_files(directory.path()), ["slot-0.arena"]);
        if crash.is_none() {
            break;
        }
        crashes += 1;
    }
    // Six arenas, each folded in several steps.
    assert!(crashes > 40, "{crashes}");
}

#[test]
fn a_kill_between_any_two_steps_of_recovery_loses_and_doubles_nothing() {
    let mut crashes = 0;
    for points in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let mut store = eight_slots(directory.path());
        store.retire_others(&names(4));
        let before = store.snapshot();
        drop(store);
        std::fs::write(directory.path().join("slot-1.arena"), "damaged").unwrap();
        std::fs::write(directory.path().join(FOLDED), "damaged").unwrap();
        let crash = crate::crash::at(points, || {
            assert_eq!(totals(&open(directory.path(), &options()).snapshot()), totals(&before));
        });
        let mut store = open(directory.path(), &options());
        record(&mut store, "slot-1", |recorder| recorder.histogram("calls", 1.0, &[]));
        let after = store.snapshot();
        let (mut expected, after_totals) = (totals(&before), totals(&after));
        (expected[0].2, expected[0].3) = (expected[0].2 + 1, expected[0].3 + 1.0);
        assert_eq!(after_totals, expected, "killed after {points} steps");
        assert_eq!(after.start_unix_nanos, before.start_unix_nanos);
        if crash.is_none() {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 5, "{crashes}");
}

#[test]
fn an_arena_is_not_folded_while_somebody_may_write() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = eight_slots(directory.path());
    let path = store.slot("slot-3").unwrap();
    store.begin_generation("slot-3").unwrap();
    std::thread::scope(|scope| {
        let executor = scope.spawn(|| {
            let writer = ArenaWriter::open(&path).unwrap();
            let recorder = Recorder::new(writer, RecorderOptions::new("t", |_| {}));
            store.retire_others(&names(2));
            assert_eq!(arena_files(directory.path()).len(), 3);
            recorder.histogram("calls", 1.0, &[]);
            assert_eq!(totals(&store.snapshot())[0].2, 9);
            assert_eq!(arena_files(directory.path()).len(), 3);
        });
        executor.join().unwrap();
    });
    assert_eq!(totals(&store.snapshot())[0].2, 9);
    assert_eq!(arena_files(directory.path()).len(), 2);
    assert!(store.take_events().iter().all(|event| matches!(event, StoreEvent::Overflow { .. })));
}

#[test]
fn an_arena_that_cannot_be_folded_is_kept_and_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = eight_slots(directory.path());
    let before = store.snapshot();
    store.take_events();
    // Nobody, not even the superuser, can write a file where a directory is.
    std::fs::create_dir(directory.path().join("folded.partial")).unwrap();
    store.retire_others(&names(7));
    for _ in 0..2 {
        assert_eq!(totals(&store.snapshot()), totals(&before));
    }
    let events = store.take_events();
    assert!(matches!(events[..], [StoreEvent::NotFolded { .. }]), "{events:?}");
    std::fs::remove_dir(directory.path().join("folded.partial")).unwrap();
    assert_eq!(totals(&store.snapshot()), totals(&before));
    assert_eq!(arena_files(directory.path()).len(), 7);
}

#[test]
fn a_larger_layout_takes_the_place_of_a_smaller_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = eight_slots(directory.path());
    let before = totals(&store.snapshot());
    let larger = ArenaOptions { cell_words: 3_000, ..options().arena };
    store.set_layout(LadderRules::default().with_form(Form::Exponential), larger);
    assert_eq!(totals(&store.snapshot()), before);
    record(&mut store, "slot-0", |recorder| recorder.histogram("calls", 0.3, &[]));
    assert_eq!(store.arenas.iter().filter(|arena| arena.reader.file().options() == larger).count(), 1);
    let after = store.snapshot();
    let calls = after.points.iter().find(|point| point.key.name() == "app.calls").unwrap();
    let Value::Exponential { zero_count, offset, counts, sum, .. } = &calls.value else {
        panic!("{calls:?}")
    };
    // 0.3 is above 2^(-7/4) and up to 2^(-6/4); 0 was counted at or below 0.005, which is up to 2^(-30/4).
    assert_eq!((*zero_count, *offset, counts[0], counts[(-7 - offset) as usize]), (0, -31, 1, 1));
    assert_eq!((counts.iter().sum::<u64>(), *sum), (9, 28.3));
    // A smaller one is wanted again: what is there holds it.
    store = open(directory.path(), &options());
    record(&mut store, "slot-0", |recorder| recorder.histogram("calls", 1.0, &[]));
    assert_eq!(store.arenas[0].reader.file().options(), larger);
    let after = totals(&store.snapshot());
    assert_eq!((after[0].2, after[0].3), (10, 29.3));
}

#[test]
fn label_sets_beyond_the_cap_are_reported_once_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path(), &options());
    for round in 0..3 {
        record(&mut store, "slot-0", |recorder| {
            for user in 0..50 {
                recorder.histogram("calls", 1.0, &[("stage", "a"), ("user", &format!("{round}-{user}"))]);
            }
            recorder.histogram("wait_seconds", 1.0, &[("user", &round.to_string())]);
        });
        store.snapshot();
    }
    let events = store.take_events();
    let [StoreEvent::Overflow { metric_name, label_key, samples, other_metrics, limit }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&**metric_name, &**label_key), ("app.calls", "user"));
    assert_eq!((*samples, *other_metrics, *limit), (47, 1, 3));
    store.overflow_reported = Instant::now().checked_sub(OVERFLOW_PERIOD);
    store.snapshot();
    let events = store.take_events();
    assert!(matches!(&events[..], [StoreEvent::Overflow { samples: 100, .. }]), "a minute later: {events:?}");
    store = open(directory.path(), &options());
    store.snapshot();
    assert!(store.take_events().is_empty(), "nothing went there since");
    record(&mut store, "slot-1", |recorder| recorder.histogram("calls", 1.0, &[("user", "2-49")]));
    store.snapshot();
    let events = store.take_events();
    assert!(matches!(&events[..], [StoreEvent::Overflow { samples: 1, .. }]), "{events:?}");
}

#[test]
fn a_higher_cap_lets_no_key_out_of_overflow() {
    let directory = tempfile::tempdir().unwrap();
    let before = totals(&eight_slots(directory.path()).snapshot());
    let mut store = open(directory.path(), &StoreOptions { label_sets: 100, ..options() });
    record(&mut store, "slot-0", |recorder| {
        recorder.histogram("wait_seconds", 2.0, &[("stage", "4")]);
        recorder.histogram("wait_seconds", 2.0, &[("stage", "new")]);
    });
    let after = totals(&store.snapshot());
    let count = |totals: &[(String, String, u64, f64)], labels: &str| {
        totals.iter().find(|(name, own, ..)| name == "app.wait_seconds" && own == labels).map(|total| total.2)
    };
    let overflow = format!("{}=true", crate::OVERFLOW_LABEL);
    assert_eq!(count(&after, &overflow), count(&before, &overflow).map(|count| count + 1));
    assert_eq!((count(&after, "stage=4"), count(&after, "stage=new")), (None, Some(1)));
}

/// What may happen to a worker.
#[derive(Debug, Clone)]
enum Step {
    Record { slot: u32, metric: usize, value: u32 },
    Restart { slots: u32, form: Form, narrow: bool, killed_after: Option<u32> },
    Snapshot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (0..4_u32, 0..METRICS.len(), 0..100_000_u32)
        .prop_map(|(slot, metric, value)| Step::Record { slot, metric, value });
    let form = prop_oneof![Just(Form::Explicit), Just(Form::Exponential)];
    let restart = (1..5_u32, form, any::<bool>(), proptest::option::of(0..40_u32))
        .prop_map(|(slots, form, narrow, killed_after)| Step::Restart { slots, form, narrow, killed_after });
    proptest::collection::vec(prop_oneof![4 => record, 1 => restart, 1 => Just(Step::Snapshot)], 1..40)
}

fn laid_out(form: Form, narrow: bool) -> StoreOptions {
    let overrides: &[(&str, &[f64])] = if narrow { &[("calls", &[10.0, 1_000.0])] } else { &[] };
    let ladders = LadderRules::new(overrides.iter().copied()).unwrap().with_form(form);
    StoreOptions { ladders, ..options() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_exact_over_any_order_of_records_restarts_folds_and_kills(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        let mut current = options();
        let mut store = open(directory.path(), &current);
        let start = store.snapshot().start_unix_nanos;
        let mut expected = [(0_u64, 0.0_f64); METRICS.len()];
        for step in steps {
            match step {
                Step::Record { slot, metric, value } => {
                    expected[metric].0 += 1;
                    expected[metric].1 += f64::from(value);
                    record(&mut store, &format!("slot-{slot}"), |recorder| {
                        recorder.histogram(&METRICS[metric]["app.".len()..], f64::from(value), &[]);
                    });
                }
                Step::Restart { slots, form, narrow, killed_after } => {
                    current = laid_out(form, narrow);
                    drop(store);
                    if let Some(points) = killed_after {
                        crate::crash::at(points, || {
                            let mut killed = open(directory.path(), &current);
                            killed.retire_others(&names(slots));
                            killed.snapshot();
                        });
                    }
                    store = open(directory.path(), &current);
                    store.retire_others(&names(slots));
                }
                Step::Snapshot => {
                    store.snapshot();
                }
            }
            let snapshot = store.snapshot();
            prop_assert_eq!(snapshot.start_unix_nanos, start);
            let mut wanted: Vec<_> = METRICS.iter().zip(expected).filter(|(_, total)| total.0 > 0)
                .map(|(name, total)| ((*name).to_owned(), String::new(), total.0, total.1)).collect();
            wanted.sort_by(|left, right| left.partial_cmp(right).expect("no sum is NaN"));
            prop_assert_eq!(totals(&snapshot), wanted);
        }
    }
}
