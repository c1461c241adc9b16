"""A task that does nothing but record, from several threads and forked children, beside its witnesses."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import platform
import struct
import threading
import time
from pathlib import Path

from pydantic import BaseModel
from recorders import record
from witness import value_of

from perago import MetricRecorder, MetricSpec, task

# From linux/prctl.h, linux/seccomp.h and linux/bpf_common.h.
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW = 0x8000_0000, 0x7FFF_0000
BPF_LOAD, BPF_JUMP_IF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
# exit(2), which ends one thread, by machine.
SYS_EXIT = {"x86_64": 60, "aarch64": 93}


class Params(BaseModel):
    action: str = "record"
    folder: Path
    seconds: float = 2
    threads: int = 4
    children: int = 0
    pause_milliseconds: float = 0
    rounds: int = 0
    slip: bool = False


class Result(BaseModel):
    seconds: float = 0
    processor_seconds: float = 0
    status: int = 0


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com", metrics=MetricSpec())
def under_attack(params: Params, metrics: MetricRecorder) -> Result:
    os.environ["CHAOS_EXECUTOR"] = str(os.getpid())
    match params.action:
        case "record":
            record_until_stopped(params, metrics)
        case "measure":
            return measure(params.rounds, metrics)
        case "sealed":
            return Result(status=sealed(params.rounds, metrics, params.slip))
    return Result()


def record_until_stopped(params: Params, metrics: MetricRecorder) -> None:
    """Run the forked children and the threads until the time is over or the test says stop."""
    ends_at = time.monotonic() + params.seconds
    stop = params.folder / "stop"

    def goes_on() -> bool:
        if params.pause_milliseconds:
            time.sleep(params.pause_milliseconds / 1000)
        return time.monotonic() < ends_at and not stop.exists()

    recorders = params.threads + params.children
    slot = int(os.environ["PERAGO_SLOT"])
    arguments = [
        (metrics, params.folder, slot, recorder, value_of(slot, recorder, recorders), goes_on)
        for recorder in range(recorders)
    ]
    # Children first: a fork copies the calling thread alone, and with it the locks that others hold.
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=record, args=one) for one in arguments[params.threads :]]
    for child in children:
        child.start()
    threads = [threading.Thread(target=record, args=one) for one in arguments[: params.threads]]
    for thread in threads:
        thread.start()
    for recorder in [*threads, *children]:
        recorder.join()


def rounds_of(metrics: MetricRecorder, rounds: int) -> None:
    """Make each kind of call `rounds` times, as a body would that does nothing else."""
    for _ in range(rounds):
        metrics.histogram("measured", 1)
        metrics.histogram("measured_parts", 2, labels={"stage": "decode", "format": "wav"})
        metrics.gauge("measured_depth", 3)
        with metrics.timer("measured_seconds", labels={"provider": "local"}):
            pass


def measure(rounds: int, metrics: MetricRecorder) -> Result:
    """Return how long some rounds take, by the clock and by the processor."""
    rounds_of(metrics, 100)
    started, processor = time.perf_counter(), time.thread_time()
    rounds_of(metrics, rounds)
    return Result(seconds=time.perf_counter() - started, processor_seconds=time.thread_time() - processor)


def sealed(rounds: int, metrics: MetricRecorder, slip: bool) -> int:
    """Record in a child that the kernel kills at its first system call but exit(2); return how it ended."""
    rounds_of(metrics, 100)
    libc = ctypes.CDLL(None)
    seal, leave = libc.prctl, libc.syscall
    number = SYS_EXIT[platform.machine()]
    # seccomp(2). Its strict mode would do, but forbids the clock that needs no system call too.
    instructions = [
        (BPF_LOAD, 0, 0, 0),
        (BPF_JUMP_IF_EQUAL, 0, 1, number),
        (BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW),
        (BPF_RETURN, 0, 0, SECCOMP_RET_KILL_PROCESS),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
    filter_ = struct.pack("@HP", len(instructions), ctypes.addressof(program))
    child = os.fork()
    if child == 0:
        # The shard of its own and the memory of the loop are there before the door is shut.
        rounds_of(metrics, 100)
        gc.disable()
        seal(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        seal(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0)
        rounds_of(metrics, rounds)
        if slip:
            os.getppid()
        leave(number, 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
