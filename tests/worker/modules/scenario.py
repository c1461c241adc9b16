"""A task whose body does what its parameters say. Its name is given by the test, so that queues are apart."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from loguru import logger
from pydantic import BaseModel

from perago import TaskCancelled, TaskFailed, TaskTerminalError, task


class Params(BaseModel):
    action: str = "echo"
    text: str = ""
    number: int = 0
    folder: Path = Path()


class Result(BaseModel):
    text: str = ""
    number: float = 0
    environment: dict[str, str] = {}


def say_started(folder: Path) -> None:
    """Say that the body runs, and where: whoever sees the file sees all of it."""
    part = folder / "started.part"
    part.write_text(str(os.getpid()))
    part.rename(folder / "started")


def gate(folder: Path) -> None:
    """Say that the body runs, and wait until the test lets it go on."""
    say_started(folder)
    while not (folder / "go").exists():
        time.sleep(0.01)


def die_of_signal(number: int) -> None:
    if number == signal.SIGSEGV:
        ctypes.string_at(0)
    os.kill(os.getpid(), number)
    signal.pause()


def start_child(folder: Path) -> None:
    """Start a program that leaves our process group and session and would run for long."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (folder / "child").write_text(str(child.pid))


def block(folder: Path) -> None:
    """Wait for good, whatever it is told."""
    say_started(folder)
    while True:
        with contextlib.suppress(BaseException):
            threading.Event().wait()


def clean_up(folder: Path) -> None:
    """Write, once told to stop, that there was time to clean up."""
    try:
        gate(folder)
    finally:
        time.sleep(0.2)
        (folder / "cleaned").write_text(str(os.getpid()))


def swallow(folder: Path) -> None:
    """Treat being told to stop as any other error, which is wrong, and go on."""
    try:
        gate(folder)
    except TaskCancelled as error:
        (folder / "caught").write_text(str(error))


def compute(folder: Path) -> None:
    """Stay in native code for longer than any test."""
    say_started(folder)
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2_000_000_000)


def overflow() -> None:
    """Let a native library use up the stack: that of the C library descends once for each bracket."""
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(4096), b"(" * 1_000_000, 1)


def abort() -> None:
    os.write(2, b"last words\n")
    os.abort()


def leak(folder: Path, count: int) -> None:
    """Take so many bytes and never give them back."""
    taken = [b"x" * 1_000_000 for _ in range(count // 1_000_000)]
    block(folder)
    del taken


def take_memory(folder: Path, text: str) -> None:
    """Take memory until there is none."""
    group = Path(os.environ["SUITE_CGROUP"])
    if text == "gated":
        gate(folder)
    taken = []
    while group.exists():
        taken.append(b"x" * 1_000_000)


def hold_memory(folder: Path, count: int) -> None:
    """Hold so many bytes, half of them in a program that leaves our process group and session."""
    held = b"x" * (count // 2)
    script = f"import sys, time; held = b'x' * {count // 2}; print(len(held), flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    (folder / "child").write_text(str(child.pid))
    gate(folder)
    del held


def write_log(text: str) -> None:
    print(f"printed {text}")
    print(f"to stderr {text}", file=sys.stderr)
    logging.getLogger("author").warning("logged %s", text, extra={"colour": "blue", "task_id": "forged"})
    logger.bind(shape="round").info("loguru {}", text)
    subprocess.run(["sh", "-c", f"echo from a program {text}; echo its error {text} >&2"], check=True)
    print("no line end", end="")


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com")
def scenario(params: Params) -> Result:
    text = params.text
    match params.action:
        case "echo":
            return Result(text=text, number=params.number)
        case "gate":
            gate(params.folder)
        case "child":
            start_child(params.folder)
            gate(params.folder)
        case "clean":
            clean_up(params.folder)
        case "swallow":
            swallow(params.folder)
        case "native":
            compute(params.folder)
        case "block":
            block(params.folder)
        case "cancelled":
            raise TaskCancelled(text)
        case "memory":
            take_memory(params.folder, text)
        case "leak":
            leak(params.folder, params.number)
        case "overflow":
            overflow()
        case "abort":
            abort()
        case "leave":
            start_child(params.folder)
            abort()
        case "hold":
            hold_memory(params.folder, params.number)
        case "thread":
            threading.Thread(target=time.sleep, args=(600,)).start()
        case "sleep":
            time.sleep(params.number)
        case "spin":
            end = time.perf_counter() + params.number / 1e6
            while time.perf_counter() < end:
                pass
        case "failed":
            raise TaskFailed(text)
        case "terminal":
            raise TaskTerminalError(text)
        case "raise":
            raise ValueError(text)
        case "panic":
            raise AssertionError(text)
        case "key":
            raise KeyError(text)
        case "silent":
            raise RuntimeError
        case "nan":
            return Result(number=math.nan)
        case "large":
            return Result(text="x" * params.number)
        case "wrong":
            return Result.model_construct(text=["not", "text"])  # type: ignore[arg-type]
        case "log":
            write_log(text)
        case "flood":
            for number in range(params.number):
                print(f"line {number} {'y' * 100}")
        case "exit":
            print("last words", file=sys.stderr)
            sys.exit(params.number)
        case "_exit":
            os.write(2, b"last words\n")
            os._exit(params.number)
        case "signal":
            (params.folder / "died").write_text(repr(time.time()))
            die_of_signal(params.number)
        case "environment":
            names = ("PERAGO_WORKER_ID", "PERAGO_SLOT", "PERAGO_SLOTS")
            return Result(environment={name: os.environ[name] for name in names}, number=os.getpid())
    return Result(text=text)
