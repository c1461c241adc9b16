"""A cancellation at any moment of an executor's life hits its own body or nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from perago._native import Channel
from support.command import environment
from support.waiting import until
from support.worker import MODULES

TRIALS = 300
SPIN_MICROSECONDS = 800
# Longer and shorter by this, so that trials stay about the end of the body on a fast and on a slow machine.
STEP = 1.1


class Executor:
    """An executor without a supervisor: the test sends its frames and its signals."""

    def __init__(self, root: Path) -> None:
        self.channel, theirs = socket.socketpair()
        launch = {
            "module_target": "scenario",
            "describe_only": False,
            "threads": 1,
            "arena": None,
            "resource_attribute_keys": [],
            "failure_reason_max_length": 500,
        }
        variables = {
            "SUITE_TASK": "suite.races",
            "PERAGO_EXECUTOR_CHANNEL": str(theirs.fileno()),
            "PERAGO_EXECUTOR_LAUNCH": json.dumps(launch),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from perago._executor import main; main()"],
            cwd=MODULES,
            env=environment(root, **variables),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self.channel.settimeout(30)
        self._reader = self.channel.makefile("rb")
        assert "ready" in self.read()

    def close(self) -> None:
        """Close the channel."""
        self._reader.close()
        self.channel.close()

    def send(self, message: Any) -> None:
        """Send one frame."""
        body = json.dumps(message).encode()
        self.channel.sendall(struct.pack("<I", len(body)) + body)

    def read(self) -> dict[str, Any]:
        """Read one frame that is no line of the log."""
        while True:
            (length,) = struct.unpack("<I", self._reader.read(4))
            message: dict[str, Any] = json.loads(self._reader.read(length))
            if "log" not in message:
                return message

    def assign(self, attempt: int, **params: Any) -> None:
        """Hand out one attempt."""
        ids = {"workflow_id": "w", "task_id": "t", "reference_name": "r", "retry_count": 0, "poll_count": 1}
        self.send({"assign": {"attempt": attempt, "slot": 1, "params": params, **ids}})

    def cancel(self, attempt: int) -> None:
        """Tell a body to stop, as the supervisor does."""
        self.send({"cancel": attempt})
        self.process.send_signal(Channel.CANCEL_SIGNAL)

    def end_of(self, attempt: int) -> dict[str, Any]:
        """Wait for the end of a body; return its outcome."""
        while True:
            message = self.read()
            if "ended" in message:
                assert message["ended"]["attempt"] == attempt
                outcome: dict[str, Any] = message["ended"]["outcome"]
                return outcome


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Executor]:
    executor = Executor(tmp_path)
    yield executor
    with suppress(OSError):
        executor.send("stop")
    try:
        assert executor.process.wait(10) == 0
    finally:
        executor.process.kill()
        executor.close()


def was_cancelled(outcome: dict[str, Any]) -> bool:
    return "failed" in outcome and str(outcome["failed"]["reason"]).startswith("TaskCancelled")


def test_a_cancellation_about_the_end_of_a_body_never_hits_the_next(executor: Executor) -> None:
    chance = random.Random(6)
    cancelled = 0
    end_seconds = SPIN_MICROSECONDS / 1e6
    for trial in range(TRIALS):
        executor.assign(2 * trial, action="spin", number=SPIN_MICROSECONDS)
        # From before the assignment is read until after its result is written.
        time.sleep(chance.uniform(0, 2 * end_seconds))
        executor.cancel(2 * trial)
        if trial % 2:
            # The signal may come when the next body has begun.
            executor.assign(2 * trial + 1)
            is_hit = was_cancelled(executor.end_of(2 * trial))
        else:
            is_hit = was_cancelled(executor.end_of(2 * trial))
            executor.assign(2 * trial + 1)
        assert "completed" in executor.end_of(2 * trial + 1)
        cancelled += is_hit
        end_seconds *= STEP if is_hit else 1 / STEP
    # Otherwise nothing was tried.
    assert 0 < cancelled < TRIALS, cancelled


def test_a_body_that_has_not_begun_does_not_begin(executor: Executor, folder: Path) -> None:
    os.kill(executor.process.pid, signal.SIGSTOP)
    state = Path(f"/proc/{executor.process.pid}/stat")
    until(lambda: state.read_text().rpartition(") ")[2].startswith("T"), "a stopped executor")
    executor.assign(1, action="gate", folder=str(folder))
    executor.cancel(1)
    os.kill(executor.process.pid, signal.SIGCONT)
    assert was_cancelled(executor.end_of(1))
    assert not (folder / "started").exists()
    executor.assign(2)
    assert "completed" in executor.end_of(2)


def test_a_signal_without_news_does_nothing(executor: Executor, folder: Path) -> None:
    executor.assign(1, action="gate", folder=str(folder))
    for _ in range(20):
        executor.process.send_signal(Channel.CANCEL_SIGNAL)
    (folder / "go").touch()
    assert "completed" in executor.end_of(1)


def test_the_end_of_the_channel_is_seen_after_a_body_that_looked_for_news(executor: Executor) -> None:
    executor.assign(1)
    executor.send("stop")
    executor.process.send_signal(Channel.CANCEL_SIGNAL)
    assert "completed" in executor.end_of(1)
    assert executor.process.wait(10) == 0
