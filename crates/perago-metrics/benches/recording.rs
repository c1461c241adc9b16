//! Cost of one sample in Rust. Command: `cargo bench -p perago-metrics`.

use divan::{Bencher, black_box};
use perago_metrics::{ArenaFile, ArenaOptions, ArenaWriter, Recorder, RecorderOptions};

fn main() {
    divan::main();
}

fn recorder() -> (tempfile::TempDir, Recorder) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("bench.arena");
    ArenaFile::create(&path, ArenaOptions::default()).expect("room for an arena");
    let writer = ArenaWriter::open(&path).expect("the arena just made");
    (directory, Recorder::new(writer, RecorderOptions::new("bench", |_| {})))
}

#[divan::bench(threads = [1, 2], sample_size = 10_000)]
fn histogram_through_a_bound_handle(bencher: Bencher<'_, '_>) {
    let (_directory, recorder) = recorder();
    let handle = recorder.bind_histogram("items", &[]);
    bencher.bench(|| handle.record(black_box(0.37)));
}

#[divan::bench(sample_size = 10_000)]
fn gauge_through_a_bound_handle(bencher: Bencher<'_, '_>) {
    let (_directory, recorder) = recorder();
    let handle = recorder.bind_gauge("depth", &[]);
    bencher.bench(|| handle.set(black_box(3.0)));
}

#[divan::bench(sample_size = 10_000)]
fn histogram_by_name(bencher: Bencher<'_, '_>) {
    let (_directory, recorder) = recorder();
    bencher.bench(|| recorder.histogram(black_box("items"), black_box(0.37), &[]));
}

#[divan::bench(sample_size = 10_000)]
fn histogram_by_name_with_two_labels(bencher: Bencher<'_, '_>) {
    let (_directory, recorder) = recorder();
    let labels = [("stage", "decode"), ("format", "wav")];
    bencher.bench(|| recorder.histogram(black_box("chunks"), black_box(0.37), black_box(&labels)));
}

#[divan::bench(sample_size = 10_000)]
fn monotonic_clock() -> u64 {
    perago_metrics::monotonic_nanos()
}
