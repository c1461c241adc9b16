//! Damaged, foreign and sparse files.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use perago_metrics::{ArenaFile, ArenaOptions, ArenaWriter, Error, StoreEvent};
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

#[test]
fn a_damaged_or_foreign_file_is_set_aside_and_reported_and_totals_get_a_new_start() {
    for content in [None, Some(&b""[..]), Some(&b"something else entirely"[..]), Some(&[0; 9000][..])] {
        let mut bench = recorded();
        let start = bench.snapshot().start_unix_nanos;
        let path = bench.store.slot("0").unwrap();
        match content {
            Some(content) => {
                // Another file in its place: this thread still maps the old one.
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, content).unwrap();
            }
            None => flip(&path, 20),
        }
        bench.reopen();
        let events = bench.store.take_events();
        let [StoreEvent::SetAside { path: aside, error }] = &events[..] else { panic!("{events:?}") };
        assert!(aside.exists() && error.is_unusable_file(), "{error:?}");
        bench.recorder("0").histogram("first", 1.0, &[]);
        let snapshot = bench.snapshot();
        assert!(snapshot.start_unix_nanos > start);
        assert_eq!(histogram(&snapshot, "app.first", &[TASK]), (1, 1.0));
        bench.reopen();
        assert!(bench.store.take_events().is_empty());
        assert_eq!(bench.snapshot().start_unix_nanos, snapshot.start_unix_nanos);
    }
}

#[test]
fn a_damaged_entry_loses_its_series_alone_and_is_reported_once() {
    for offset in [4096, 4100, 4110] {
        let mut bench = recorded();
        flip(&bench.store.slot("0").unwrap(), offset);
        let snapshot = bench.snapshot();
        assert!(find(&snapshot, "app.first", &[TASK]).is_none(), "{offset}");
        assert_eq!(histogram(&snapshot, "app.second", &[TASK]), (1, 2.0));
        bench.snapshot();
        let events = bench.store.take_events();
        assert!(matches!(events[..], [StoreEvent::DamagedEntries { count: 1, .. }]), "{events:?}");
        bench.recorder("0").histogram("first", 1.0, &[]);
        let snapshot = bench.snapshot();
        assert_eq!(histogram(&snapshot, "app.first", &[TASK]), (1, 1.0));
        assert_eq!(histogram(&snapshot, "app.second", &[TASK]), (1, 2.0));
    }
}

#[test]
fn damaged_counters_never_hand_out_what_is_in_use() {
    use std::os::unix::fs::FileExt as _;
    let mut bench = recorded();
    let path = bench.store.slot("0").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 24], 256).unwrap();
    bench.recorder("0").histogram("third", 3.0, &[]);
    let snapshot = bench.snapshot();
    for (name, value) in [("app.first", 1.0), ("app.second", 2.0), ("app.third", 3.0)] {
        assert_eq!(histogram(&snapshot, name, &[TASK]), (1, value));
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
