//! The recording path makes no system call: a process that the kernel would kill for one goes on recording.
#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod support;

use support::{Bench, histogram};

const TASK: (&str, &str) = ("task_name", "audio.transcribe");
const LABELS: [(&str, &str); 2] = [("stage", "decode"), ("format", "wav")];
const SAMPLES: u64 = 100_000;
const WARMED_UP: u64 = 10;

/// Has the kernel kill this process at its next system call but exit(2), by seccomp(2). Its strict mode would do, but
/// forbids the clock that needs no system call too.
fn seal() {
    let instruction = |code: u32, jump_false, operand| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: jump_false,
        k: operand,
    };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_exit as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives until the call returns.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
    }
}

/// Runs `prepared` in a forked child, seals it, and runs `sealed`. Returns the status that waitpid(2) gives.
fn run_sealed(prepared: impl Fn(), sealed: impl Fn()) -> i32 {
    // SAFETY: the child uses its only thread and leaves without returning to the harness.
    let child = unsafe { libc::fork() };
    if child == 0 {
        prepared();
        seal();
        sealed();
        // SAFETY: ends the only thread, and with it the process.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
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
    let slip = || {
        // SAFETY: a plain call without arguments.
        unsafe { libc::getppid() };
    };
    let status = run_sealed(|| (), slip);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS, "{status}");
}
