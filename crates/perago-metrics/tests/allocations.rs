//! The hit path allocates nothing: every allocation of this binary is counted, thread by thread.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use perago_metrics::Kind;
use support::{Bench, histogram};

const LABELS: [(&str, &str); 2] = [("stage", "decode"), ("format", "wav")];

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is the system allocator's; the counter neither allocates nor has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of this thread during the second of two runs of `call`.
fn allocations_once_known(call: impl Fn()) -> u64 {
    let before = ALLOCATIONS.get();
    call();
    let known = ALLOCATIONS.get();
    assert!(known > before, "the first call must allocate, or nothing is counted");
    call();
    ALLOCATIONS.get() - known
}

#[test]
fn a_sample_of_a_known_series_allocates_nothing() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    let bound = allocations_once_known(|| {
        thread_local! {
            static HANDLE: Cell<Option<perago_metrics::HistogramHandle>> = const { Cell::new(None) };
        }
        let handle = HANDLE.take().unwrap_or_else(|| recorder.bind_histogram("items", &[]));
        for value in 0..1_000_u32 {
            handle.record(f64::from(value));
        }
        HANDLE.set(Some(handle));
    });
    assert_eq!(bound, 0, "through a bound handle");
    let named = allocations_once_known(|| {
        for value in 0..1_000_u32 {
            recorder.histogram("items", f64::from(value), &[]);
            recorder.histogram("chunks", f64::from(value), &LABELS);
            recorder.gauge("depth", f64::from(value), &LABELS);
        }
    });
    assert_eq!(named, 0, "by name and labels");
    let series = recorder.find(Kind::Histogram, "chunks", &LABELS).series.unwrap();
    let before = ALLOCATIONS.get();
    assert!(recorder.record_at_once(&series, 1.0));
    assert_eq!(ALLOCATIONS.get(), before, "at once");
    let task = ("task_name", "audio.transcribe");
    assert_eq!(histogram(&bench.snapshot(), "app.items", &[task]).0, 4_000);
}

#[test]
fn what_cannot_be_done_at_once_is_not_done() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    let items = recorder.find(Kind::Histogram, "items", &[]).series.unwrap();
    let depth = recorder.find(Kind::Gauge, "depth", &[]).series.unwrap();
    assert!(!recorder.record_at_once(&items, 1.0), "this thread has no shard yet");
    recorder.record(&items, 1.0);
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(!recorder.record_at_once(&items, value));
    }
    assert!(!recorder.record_at_once(&depth, f64::NEG_INFINITY));
    assert!(recorder.record_at_once(&items, 2.0));
    let snapshot = bench.snapshot();
    assert_eq!(histogram(&snapshot, "app.items", &[("task_name", "audio.transcribe")]), (2, 3.0));
    assert_eq!(snapshot.points.len(), 1);
}
