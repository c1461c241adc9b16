//! Forked children and killed processes: every sample is whole, and at most the one in flight is missing.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;
use perago_metrics::{ArenaWriter, Reason, Recorder, RecorderOptions};
use support::{Bench, histogram};

const TASK: (&str, &str) = ("task_name", "audio.transcribe");
const VALUE: f64 = 3.0;

/// Words that parent and children share.
struct Witness {
    memory: MmapRaw,
}

impl Witness {
    fn new(file: &File) -> Self {
        file.set_len(4096).unwrap();
        Self { memory: MmapRaw::map_raw(file).unwrap() }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
        let words = self.memory.as_mut_ptr().cast::<u64>();
        // SAFETY: the index is far below the page's 512 words.
        unsafe { AtomicU64::from_ptr(words.add(index)) }
    }
}

/// Runs `body` in a forked child, which then ends at once.
fn fork(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child runs `body` on its only thread and leaves without returning to the harness.
    match unsafe { libc::fork() } {
        0 => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends the child without the harness's exit handlers.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        child => child,
    }
}

fn wait(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `child` is ours and `status` is a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

fn record_for_ever(recorder: &Recorder, witness: &Witness, labels: &[(&str, &str)]) {
    loop {
        witness.word(0).fetch_add(1, Ordering::SeqCst);
        recorder.histogram("items", VALUE, labels);
        witness.word(1).fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_killed_process_leaves_whole_samples_and_at_most_one_is_missing() {
    let mut bench = Bench::new();
    let witness = Witness::new(&tempfile::tempfile().unwrap());
    let recorder = bench.recorder("0");
    let mut last_sum = 0.0;
    for kill in 0..300_u64 {
        let goal = witness.word(1).load(Ordering::SeqCst) + 1 + kill * 37 % 400;
        let child = fork(|| record_for_ever(&recorder, &witness, &[("kind", "a")]));
        while witness.word(1).load(Ordering::SeqCst) < goal {
            std::hint::spin_loop();
        }
        // SAFETY: `child` is ours and has not been waited for.
        assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
        wait(child);
        let (count, sum) = histogram(&bench.snapshot(), "app.items", &[("kind", "a"), TASK]);
        let (begun, finished) =
            (witness.word(0).load(Ordering::SeqCst), witness.word(1).load(Ordering::SeqCst));
        assert!((finished..=begun).contains(&count), "{finished} <= {count} <= {begun}");
        assert!(begun - finished <= kill + 1);
        assert_eq!(sum.to_bits(), (count as f64 * VALUE).to_bits(), "half a sample");
        assert!(sum >= last_sum);
        last_sum = sum;
    }
    assert_eq!(bench.snapshot().points.len(), 1);
    assert_eq!(bench.snapshot().dropped[Reason::ShardBusy as usize], 0);
}

#[test]
fn a_pool_of_eight_forked_children_loses_nothing() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    recorder.histogram("items", 1.0, &[]);
    let children: Vec<libc::pid_t> = (0..8)
        .map(|child| {
            let recorder = &recorder;
            fork(move || {
                let label = child.to_string();
                for value in 0..2_000_u32 {
                    recorder.histogram("items", f64::from(value), &[]);
                    recorder.histogram("by_child", 1.0, &[("child", &label)]);
                }
            })
        })
        .collect();
    for value in 0..2_000_u32 {
        recorder.histogram("items", f64::from(value), &[]);
    }
    for child in children {
        assert_eq!(wait(child), 0);
    }
    let snapshot = bench.snapshot();
    assert_eq!(histogram(&snapshot, "app.items", &[TASK]), (18_001, 1.0 + 9.0 * 1_999.0 * 1_000.0));
    for child in 0..8 {
        assert_eq!(
            histogram(&snapshot, "app.by_child", &[TASK, ("child", &child.to_string())]),
            (2_000, 2_000.0)
        );
    }
}

#[test]
fn totals_never_fall_while_they_are_read() {
    let mut bench = Bench::new();
    let witness = Witness::new(&tempfile::tempfile().unwrap());
    let recorder = bench.recorder("0");
    recorder.histogram("items", VALUE, &[]);
    let child = fork(|| record_for_ever(&recorder, &witness, &[]));
    let mut last = (0, 0.0);
    for _ in 0..500 {
        let now = histogram(&bench.snapshot(), "app.items", &[TASK]);
        assert!(now.0 >= last.0 && now.1 >= last.1, "{last:?} then {now:?}");
        last = now;
    }
    // SAFETY: `child` is ours and has not been waited for.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    wait(child);
}

#[test]
fn an_arena_is_folded_only_after_the_last_forked_child_of_its_executor() {
    let mut bench = Bench::new();
    let path = bench.store.slot("0").unwrap();
    bench.store.begin_generation("0").unwrap();
    let witness = Witness::new(&tempfile::tempfile().unwrap());
    let executor = fork(|| {
        let writer = ArenaWriter::open(&path).unwrap();
        let recorder = Recorder::new(writer, RecorderOptions::new("audio.transcribe", |_| {}));
        recorder.histogram("items", VALUE, &[]);
        let child = fork(|| {
            witness.word(1).store(1, Ordering::SeqCst);
            while witness.word(2).load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            recorder.histogram("items", VALUE, &[]);
        });
        witness.word(0).store(child as u64, Ordering::SeqCst);
    });
    assert_eq!(wait(executor), 0);
    while witness.word(1).load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    bench.store.retire_others(&[]);
    assert!(path.exists(), "a child of the executor may still record");
    assert_eq!(histogram(&bench.snapshot(), "app.items", &[TASK]), (1, VALUE));
    witness.word(2).store(1, Ordering::SeqCst);
    let started = std::time::Instant::now();
    while path.exists() {
        assert!(started.elapsed().as_secs() < 30, "the child has ended and its arena is still there");
        let (count, _) = histogram(&bench.snapshot(), "app.items", &[TASK]);
        assert!((1..=2).contains(&count), "{count}");
    }
    assert_eq!(histogram(&bench.snapshot(), "app.items", &[TASK]), (2, 2.0 * VALUE));
}
