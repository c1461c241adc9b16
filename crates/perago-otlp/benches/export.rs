//! Cost of one export in processor time: 10,000 data points of 26 bounds over 8 arenas, every one of them with new
//! samples, checkpoint included; and what a recorder notices of exports. Command: `cargo bench -p perago-otlp`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use perago_metrics::{
    ArenaOptions, ArenaStore, ArenaWriter, HistogramHandle, Recorder, RecorderOptions, StoreOptions,
};
use perago_otlp::{Resource, WorkerIdentity, encode};

const POINTS: usize = 10_000;
const ARENAS: usize = 8;
const EXPORTS: usize = 40;
const BATCHES: usize = 100_000;
const BATCH: u32 = 1_000;

struct Worker {
    _directory: tempfile::TempDir,
    store: ArenaStore,
    /// All series of each arena.
    slots: Vec<Vec<HistogramHandle>>,
}

fn worker() -> Worker {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let arena = ArenaOptions { shards: 1, ..ArenaOptions::for_label_sets(POINTS) };
    let options = StoreOptions { arena, label_sets: POINTS, ..StoreOptions::default() };
    let mut store = ArenaStore::open(directory.path(), options).expect("an empty store");
    let slots = (0..ARENAS)
        .map(|slot| {
            let path = store.slot(&slot.to_string()).expect("room for an arena");
            let writer = ArenaWriter::open(&path).expect("the arena just made");
            let options = RecorderOptions { label_sets: POINTS, ..RecorderOptions::new("bench", |_| {}) };
            let recorder = Recorder::new(writer, options);
            let handle = |point: usize| {
                let (metric, label) = (format!("items{}", point / 500), format!("value{}", point % 500));
                recorder.bind_histogram(&metric, &[("stage", "decode"), ("key", &label)])
            };
            (0..POINTS).map(handle).collect()
        })
        .collect();
    let mut worker = Worker { _directory: directory, store, slots };
    worker.record();
    assert_eq!(worker.store.snapshot().points.len(), POINTS);
    worker
}

impl Worker {
    fn record(&mut self) {
        for slot in &self.slots {
            for (point, handle) in slot.iter().enumerate() {
                handle.record(point as f64);
            }
        }
    }
}

fn resource() -> Resource {
    Resource::new(WorkerIdentity { instance: "bench", host: "bench", state_directory: "/" }, None, &[])
}

/// Nanoseconds that this thread has been on a processor.
fn processor_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn timed<T>(samples: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let before = processor_nanos();
    let result = black_box(work());
    samples.push((processor_nanos() - before) as f64 / 1e6);
    result
}

fn report(name: &str, unit: &str, mut samples: Vec<f64>) {
    samples.sort_by(f64::total_cmp);
    let at = |part: f64| samples[((samples.len() - 1) as f64 * part) as usize];
    println!("{name:<44} least {:8.2}   median {:8.2}   99 % {:8.2} {unit}", at(0.0), at(0.5), at(0.99));
}

fn exports() {
    let mut worker = worker();
    let resource = resource();
    let [mut snapshots, mut encodings, mut both, mut compressions] = [const { Vec::new() }; 4];
    let mut length = 0;
    for export in 0..EXPORTS {
        worker.record();
        let snapshot = timed(&mut snapshots, || worker.store.snapshot());
        let request = timed(&mut encodings, || encode(&snapshot, [], &resource));
        both.push(snapshots[export] + encodings[export]);
        length = request.len();
        if export % 8 == 0 {
            timed(&mut compressions, || {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&request).expect("memory takes it");
                encoder.finish().expect("memory takes it")
            });
        }
    }
    println!("{POINTS} points of 26 bounds over {ARENAS} arenas, {length} bytes, {EXPORTS} exports");
    report("snapshot", "ms", snapshots);
    report("encoding", "ms", encodings);
    report("both", "ms", both);
    report("gzip, beside it", "ms", compressions);
}

/// Processor time of a sample, in batches, and the longest that a batch took by the clock.
fn samples(handle: &HistogramHandle) -> (Vec<f64>, f64) {
    let mut each = Vec::with_capacity(BATCHES);
    let mut longest = 0.0_f64;
    for _ in 0..BATCHES {
        let (before, began) = (processor_nanos(), Instant::now());
        for value in 0..BATCH {
            handle.record(f64::from(black_box(value)));
        }
        longest = longest.max(began.elapsed().as_secs_f64() * 1e3);
        each.push((processor_nanos() - before) as f64 / f64::from(BATCH));
    }
    (each, longest)
}

fn recording() {
    let Worker { _directory, mut store, slots } = worker();
    let handle = &slots[0][0];
    let (alone, longest_alone) = samples(handle);
    let is_over = AtomicBool::new(false);
    let mut exports = 0;
    let (beside, longest_beside) = std::thread::scope(|scope| {
        let exporter = scope.spawn(|| {
            let resource = resource();
            while !is_over.load(Ordering::Relaxed) {
                black_box(encode(&store.snapshot(), [], &resource));
                exports += 1;
            }
        });
        let measured = samples(handle);
        is_over.store(true, Ordering::Relaxed);
        exporter.join().expect("exports do not fail");
        measured
    });
    report("a sample, no export", "ns", alone);
    report(&format!("a sample, beside {exports} exports on end"), "ns", beside);
    println!(
        "longest batch of {BATCH}: {longest_alone:.2} ms without, {longest_beside:.2} ms beside exports"
    );
}

fn main() {
    exports();
    recording();
}
