//! Cost of one export: 10,000 data points of 26 bounds over 8 arenas. Command: `cargo bench -p perago-otlp`.

use std::io::Write as _;

use divan::{Bencher, black_box};
use perago_metrics::{
    ArenaOptions, ArenaStore, ArenaWriter, Recorder, RecorderOptions, Snapshot, StoreOptions,
};
use perago_otlp::{Resource, WorkerIdentity, encode};

const POINTS: usize = 10_000;
const ARENAS: usize = 8;

fn main() {
    divan::main();
}

fn store() -> (tempfile::TempDir, ArenaStore) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let arena = ArenaOptions { shards: 1, ..ArenaOptions::for_label_sets(POINTS) };
    let options = StoreOptions { arena, label_sets: POINTS, ..StoreOptions::default() };
    let mut store = ArenaStore::open(directory.path(), options).expect("an empty store");
    for slot in 0..ARENAS {
        let path = store.slot(&slot.to_string()).expect("room for an arena");
        let writer = ArenaWriter::open(&path).expect("the arena just made");
        let options = RecorderOptions { label_sets: POINTS, ..RecorderOptions::new("bench", |_| {}) };
        let recorder = Recorder::new(writer, options);
        for point in 0..POINTS {
            let (metric, label) = (format!("items{}", point / 500), format!("value{}", point % 500));
            recorder.histogram(&metric, point as f64, &[("stage", "decode"), ("key", &label)]);
        }
    }
    assert_eq!(store.snapshot().points.len(), POINTS);
    (directory, store)
}

fn resource() -> Resource {
    Resource::new(WorkerIdentity { instance: "bench", host: "bench", state_directory: "/" }, None, &[])
}

#[divan::bench(sample_count = 30)]
fn snapshot(bencher: Bencher<'_, '_>) {
    let (_directory, mut store) = store();
    bencher.bench_local(|| store.snapshot());
}

#[divan::bench(sample_count = 30)]
fn snapshot_and_encode(bencher: Bencher<'_, '_>) {
    let (_directory, mut store) = store();
    let resource = resource();
    bencher.bench_local(|| encode(&store.snapshot(), [], &resource));
}

#[divan::bench(sample_count = 10)]
fn gzip(bencher: Bencher<'_, '_>) {
    let (_directory, mut store) = store();
    let snapshot: Snapshot = store.snapshot();
    let request = encode(&snapshot, [], &resource());
    bencher.bench_local(|| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(black_box(&request)).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    });
}
