//! Damaged, foreign and sparse files.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use perago_metrics::{
    ArenaFile, ArenaOptions, ArenaStore, ArenaWriter, Error, Snapshot, StoreEvent, StoreOptions, Value,
};
use support::{Bench, find, histogram};

const TASK: (&str, &str) = ("task_name", "audio.transcribe");

fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).unwrap();
}

/// A store whose slot "0" holds two histograms of one sample each.
fn recorded() -> Bench {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    recorder.histogram("first", 1.0, &[]);
    recorder.histogram("second", 2.0, &[]);
    bench
}

#[test]
fn an_arena_has_all_its_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.arena");
    ArenaFile::create(&path, ArenaOptions::default()).unwrap();
    let metadata = path.metadata().unwrap();
    assert!(metadata.blocks() * 512 >= metadata.len(), "{} of {}", metadata.blocks() * 512, metadata.len());
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// Replaces the arena of slot "0": this thread still maps the old file.
fn replace(path: &Path, content: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn a_damaged_or_foreign_file_is_set_aside_and_totals_go_on_from_those_exported_last() {
    for content in [None, Some(&b""[..]), Some(&b"something else entirely"[..]), Some(&[0; 9000][..])] {
        let mut bench = recorded();
        let start = bench.snapshot().start_unix_nanos;
        let path = bench.store.slot("0").unwrap();
        match content {
            Some(content) => replace(&path, content),
            None => flip(&path, 20),
        }
        bench.reopen();
        let events = bench.store.take_events();
        let [StoreEvent::SetAside { path: aside, error }] = &events[..] else { panic!("{events:?}") };
        assert!(aside.exists() && error.is_unusable_file(), "{error:?}");
        assert_eq!(histogram(&bench.snapshot(), "app.first", &[TASK]), (1, 1.0));
        bench.recorder("0").histogram("first", 1.0, &[]);
        let snapshot = bench.snapshot();
        assert_eq!(snapshot.start_unix_nanos, start);
        assert_eq!(histogram(&snapshot, "app.first", &[TASK]), (2, 2.0));
        assert_eq!(histogram(&snapshot, "app.second", &[TASK]), (1, 2.0));
        bench.reopen();
        assert!(bench.store.take_events().is_empty());
        assert_eq!(histogram(&bench.snapshot(), "app.first", &[TASK]), (2, 2.0));
    }
}

#[test]
fn without_the_totals_exported_last_damage_gives_a_new_start() {
    for exported in [None, Some(&b"PERAGOTO and more"[..])] {
        let mut bench = recorded();
        let start = bench.snapshot().start_unix_nanos;
        let path = bench.directory.path().join("exported");
        match exported {
            Some(content) => std::fs::write(path, content).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        flip(&bench.store.slot("0").unwrap(), 20);
        bench.reopen();
        bench.recorder("0").histogram("first", 1.0, &[]);
        let snapshot = bench.snapshot();
        assert!(snapshot.start_unix_nanos > start);
        assert_eq!(histogram(&snapshot, "app.first", &[TASK]), (1, 1.0));
        bench.reopen();
        assert_eq!(bench.snapshot().start_unix_nanos, snapshot.start_unix_nanos);
    }
}

#[test]
fn only_the_last_files_are_kept_aside() {
    let mut bench = recorded();
    bench.snapshot();
    for round in 0..9 {
        replace(&bench.store.slot("0").unwrap(), &[round; 9000]);
        bench.reopen();
        bench.store.slot("0").unwrap();
    }
    let names = std::fs::read_dir(bench.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let aside: Vec<_> = names.filter(|name| name.to_string_lossy().contains(".damaged-")).collect();
    assert_eq!(aside.len(), 4, "{aside:?}");
    assert_eq!(histogram(&bench.snapshot(), "app.first", &[TASK]), (1, 1.0));
}

/// All totals, and the gauge.
fn values(snapshot: &Snapshot) -> Vec<(String, String)> {
    let value = |value: &Value| match value {
        Value::Histogram { counts, sum, .. } => format!("{counts:?} {sum}"),
        other => format!("{other:?}"),
    };
    snapshot.points.iter().map(|point| (point.key.name().to_owned(), value(&point.value))).collect()
}

/// Flips one bit of every byte of the arena that is used, and says which series are then other than they were.
fn changed_by_flips(positions: std::ops::Range<u64>) -> Vec<(u64, Vec<String>)> {
    let options = ArenaOptions { shards: 1, series: 8, blob_bytes: 4096, cell_words: 200 };
    let mut bench = Bench::with(StoreOptions { arena: options, ..StoreOptions::default() });
    let recorder = bench.recorder("0");
    for (name, number) in [("first", 3), ("second", 5), ("third", 7)] {
        (0..number).for_each(|value| recorder.histogram(name, f64::from(value), &[("stage", "decode")]));
    }
    recorder.gauge("depth", 4.0, &[]);
    let before = bench.snapshot();
    let copy = tempfile::tempdir().unwrap();
    let mut changed = Vec::new();
    for position in positions {
        for entry in std::fs::read_dir(copy.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for entry in std::fs::read_dir(bench.directory.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        flip(&copy.path().join("0.arena"), position);
        let mut store = ArenaStore::open(copy.path(), bench.options.clone()).unwrap();
        let after = store.snapshot();
        assert_eq!(after.start_unix_nanos, before.start_unix_nanos, "byte {position}");
        let (before, after) = (values(&before), values(&after));
        let differs = |(name, value): &&(String, String)| {
            !after.iter().any(|(other, now)| other == name && now == value)
        };
        let names: Vec<String> = before.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        let histograms =
            |values: &[(String, String)]| values.iter().filter(|(name, _)| name != "app.depth").count();
        assert_eq!(histograms(&after), 3, "byte {position}: {after:?}");
        if !names.is_empty() {
            changed.push((position, names));
        }
    }
    changed
}

#[test]
fn a_flipped_byte_in_header_directory_or_keys_changes_no_total() {
    // Header, generation and counters; the entries of the four series and two free ones; their keys and bounds.
    for positions in [0..72, 128..176, 256..280, 4096..4096 + 6 * 64, 8192..8192 + 1024] {
        for (position, names) in changed_by_flips(positions) {
            // A damaged stamp hides the gauge until the next writer, and a damaged file holds no gauge.
            assert_eq!(names, ["app.depth"], "byte {position}");
        }
    }
}

#[test]
fn a_flipped_byte_in_a_cell_harms_that_series_only() {
    // The shard's own words and the cells of three histograms of 29 words and a gauge of three.
    let start = 8192 + 4096;
    let changed = changed_by_flips(start..start + (16 + 3 * 29 + 3) * 8);
    assert!(changed.iter().any(|(_, names)| names == &["app.second"]), "{changed:?}");
    for (position, names) in changed {
        assert_eq!(names.len(), 1, "byte {position}: {names:?}");
    }
}

#[test]
fn a_damaged_entry_loses_no_exported_total_and_is_reported_once() {
    for offset in [4096, 4100, 4110] {
        let mut bench = recorded();
        bench.snapshot();
        flip(&bench.store.slot("0").unwrap(), offset);
        bench.reopen();
        let snapshot = bench.snapshot();
        assert_eq!(histogram(&snapshot, "app.first", &[TASK]), (1, 1.0), "{offset}");
        assert_eq!(histogram(&snapshot, "app.second", &[TASK]), (1, 2.0));
        bench.snapshot();
        let events = bench.store.take_events();
        assert!(matches!(events[..], [StoreEvent::DamagedEntries { count: 1, .. }]), "{events:?}");
        bench.recorder("0").histogram("first", 1.0, &[]);
        let snapshot = bench.snapshot();
        assert_eq!(histogram(&snapshot, "app.first", &[TASK]), (2, 2.0));
        assert_eq!(histogram(&snapshot, "app.second", &[TASK]), (1, 2.0));
    }
}

#[test]
fn an_entry_damaged_before_its_first_export_loses_its_series_alone() {
    let mut bench = recorded();
    flip(&bench.store.slot("0").unwrap(), 4100);
    let snapshot = bench.snapshot();
    assert!(find(&snapshot, "app.first", &[TASK]).is_none());
    assert_eq!(histogram(&snapshot, "app.second", &[TASK]), (1, 2.0));
}

#[test]
fn damaged_counters_never_hand_out_what_is_in_use_and_never_fill_an_arena() {
    for counters in [[0; 24], [0xff; 24]] {
        let mut bench = Bench::new();
        let path = bench.store.slot("0").unwrap();
        let record = |bench: &mut Bench, name: &'static str, value: f64| {
            let recorder = bench.recorder("0");
            let executor = std::thread::spawn(move || recorder.histogram(name, value, &[]));
            executor.join().unwrap();
        };
        record(&mut bench, "first", 1.0);
        record(&mut bench, "second", 2.0);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&counters, 256).unwrap();
        record(&mut bench, "third", 3.0);
        let snapshot = bench.snapshot();
        for (name, value) in [("app.first", 1.0), ("app.second", 2.0), ("app.third", 3.0)] {
            assert_eq!(histogram(&snapshot, name, &[TASK]), (1, value));
        }
    }
}

#[test]
fn a_writer_refuses_a_foreign_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.arena");
    std::fs::write(&path, [1; 9000]).unwrap();
    assert!(matches!(ArenaWriter::open(&path), Err(Error::Foreign { .. })));
    assert!(matches!(ArenaWriter::open(&path.with_extension("gone")), Err(Error::Io { .. })));
}
