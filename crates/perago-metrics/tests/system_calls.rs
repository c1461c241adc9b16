//! The recording path makes no system call: a process that the kernel would kill for one goes on recording.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use support::{Bench, histogram};

const TASK: (&str, &str) = ("task_name", "audio.transcribe");
const LABELS: [(&str, &str); 2] = [("stage", "decode"), ("format", "wav")];
const SAMPLES: u64 = 100_000;
const WARMED_UP: u64 = 10;

/// Runs `prepared` in a forked child, then `sealed` in seccomp's strict mode, which leaves read, write, exit and
/// sigreturn alone. Returns the status that waitpid(2) gives.
fn run_sealed(prepared: impl Fn(), sealed: impl Fn()) -> i32 {
    // SAFETY: the child uses its only thread and leaves without returning to the harness.
    let child = unsafe { libc::fork() };
    if child == 0 {
        prepared();
        // SAFETY: plain calls; only the thread ends, which is the process, because strict mode refuses the other exit.
        unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT);
            sealed();
            libc::syscall(libc::SYS_exit, 0);
        }
    }
    let mut status = 0;
    // SAFETY: `child` is ours and `status` is a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

#[test]
fn a_process_that_may_make_no_system_call_records() {
    let mut bench = Bench::new();
    let recorder = bench.recorder("0");
    let bound = recorder.bind_histogram("bound", &[]);
    let record = |count: u64| {
        for _ in 0..count {
            bound.record(1.0);
            recorder.histogram("items", 3.0, &[]);
            recorder.histogram("chunks", 12.0, &LABELS);
            recorder.gauge("depth", 4.0, &[]);
        }
    };
    // The first samples of a thread find its series and its shard.
    let status = run_sealed(|| record(WARMED_UP), || record(SAMPLES));
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "a system call was made: {status}");
    let snapshot = bench.snapshot();
    let count = SAMPLES + WARMED_UP;
    assert_eq!(histogram(&snapshot, "app.bound", &[TASK]).0, count);
    assert_eq!(histogram(&snapshot, "app.items", &[TASK]), (count, 3.0 * count as f64));
    let [stage, format] = LABELS;
    assert_eq!(histogram(&snapshot, "app.chunks", &[TASK, stage, format]).0, count);
}

#[test]
fn the_seal_holds() {
    // SAFETY: a plain call without arguments.
    let status = run_sealed(|| (), || drop(unsafe { libc::getppid() }));
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "{status}");
}
