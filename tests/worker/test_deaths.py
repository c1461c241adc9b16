"""Bodies that take their executor with them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from support.cgroups import MemoryCgroup
from support.conductor import Conductor
from support.waiting import SLACK_SECONDS, until
from support.worker import Worker

from .conftest import Shared, new_task_name


@pytest.fixture(scope="module")
def deadly(
    conductor: Conductor, scenario: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    """Enough slots that each death meets an executor that has not died before."""
    task = new_task_name()
    conductor.define(task)
    root = tmp_path_factory.mktemp("deadly")
    with Worker(root, conductor.url, task, "-j", "5", program=scenario) as worker:
        until(lambda: len(worker.executors()) == 5, "five executors")
        yield Shared(conductor, worker, task)


@pytest.mark.parametrize(
    ("action", "number", "reason", "code"),
    [
        ("exit", 3, "exited with status 3", "executor_exited"),
        ("_exit", 7, "exited with status 7", "executor_exited"),
        ("signal", signal.SIGKILL, "was killed by SIGKILL", "executor_killed"),
        ("signal", signal.SIGSEGV, "was killed by SIGSEGV", "executor_killed"),
        ("signal", signal.SIGABRT, "was killed by SIGABRT", "executor_killed"),
    ],
)
def test_a_death_is_named_and_the_slot_replaced(
    deadly: Shared, folder: Path, action: str, number: int, reason: str, code: str
) -> None:
    before = {process.pid for process in deadly.worker.executors()}
    deaths = deadly.worker.records("executor_exited")
    task = deadly.run(action, number=int(number), folder=str(folder))
    assert task["status"] == "FAILED"
    text = str(task["reasonForIncompletion"])
    assert text.startswith(f"the executor process {reason} while it ran the body")
    if "exit" in action:
        assert text.endswith("; its last output:\nlast words")
    failed = deadly.worker.wait_record("task_failed", task_id=task["taskId"])
    assert failed["failure_code"] == code
    if (folder / "died").exists():
        died = float((folder / "died").read_text())
        assert (
            datetime.fromisoformat(failed["time"].replace("Z", "+00:00")).timestamp() - died < SLACK_SECONDS
        )

    def replaced() -> bool:
        now = {process.pid for process in deadly.worker.executors()}
        return len(now) == 5 and now != before

    exited = until(lambda: deadly.worker.records("executor_exited")[len(deaths) :], "the record of its end")[
        0
    ]
    assert reason in exited["message"]
    # The first death of a slot delays nothing, the next ones do.
    earlier = sum(death["slot"] == exited["slot"] for death in deaths)
    delay = exited["restart_delay_seconds"]
    assert delay == (2 ** (earlier - 1) if earlier else 0)
    # Half a second and the import are promised.
    until(replaced, "a fifth executor", 0.5 + delay + deadly.worker.seconds_to_ready + SLACK_SECONDS)


def test_an_idle_executor_that_is_killed_is_replaced(deadly: Shared) -> None:
    before = {process.pid for process in deadly.worker.executors()}
    victim = max(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in {process.pid for process in deadly.worker.executors()}, "its end")
    until(lambda: len(deadly.worker.executors()) == 5, "its successor")
    assert deadly.run("echo")["status"] == "COMPLETED"


def test_an_executor_that_is_killed_for_want_of_memory_says_so(
    memory: MemoryCgroup,
    conductor: Conductor,
    scenario: Path | None,
    task_name: str,
    tmp_path: Path,
    folder: Path,
) -> None:
    conductor.define(task_name)
    with memory.entered():
        # The kernel alone kills here.
        variables = {"SUITE_CGROUP": str(memory.path), "PERAGO_CONTAINER_MEMORY_THRESHOLD": "off"}
        worker = Worker(tmp_path, conductor.url, task_name, program=scenario, **variables)
    with worker:
        shared = Shared(conductor, worker, task_name)
        memory.leave_bytes(50_000_000)
        task = shared.run("memory", folder=str(folder))
        reason = str(task["reasonForIncompletion"])
        assert reason.startswith("the executor process was killed by the kernel because memory ran out")
        failed = worker.wait_record("task_failed")
        assert failed["failure_code"] == "executor_out_of_memory"
        assert worker.wait_record("executor_exited")["cause"] == "out_of_memory"
        # The same signal from somebody else is no evidence.
        second = tmp_path / "second"
        second.mkdir()
        task = shared.run("signal", number=int(signal.SIGKILL), folder=str(second))
        assert "was killed by SIGKILL" in str(task["reasonForIncompletion"])
        assert worker.wait_record("task_failed", task_id=task["taskId"])["failure_code"] == "executor_killed"
