"""Limits of an attempt: time, memory of its own, and memory of the memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cgroups import MemoryCgroup
from support.conductor import Conductor
from support.waiting import until
from support.worker import Worker

from .conftest import Shared, new_task_name

MIB = 1 << 20
# An executor that has imported a module of this suite uses about 40 MiB.
EXECUTOR_BYTES = 100 * MIB


def pids(worker: Worker) -> set[int]:
    return {process.pid for process in worker.processes()}


@pytest.fixture(scope="module")
def timed(
    conductor: Conductor, scenario: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    """One slot, so that the next task gets the same executor."""
    task = new_task_name()
    conductor.define(task)
    variables = {"PERAGO_ATTEMPT_TIMEOUT": "1s", "PERAGO_CANCEL_GRACE": "1s"}
    root = tmp_path_factory.mktemp("timed")
    with Worker(root, conductor.url, task, program=scenario, **variables) as worker:
        yield Shared(conductor, worker, task)


def failed_at_the_limit(shared: Shared, action: str, folder: Path) -> int:
    """Run a body that never ends; return the process that ran it."""
    task = shared.run(action, folder=str(folder))
    assert task["status"] == "FAILED", task
    reason = "the body ran for longer than PERAGO_ATTEMPT_TIMEOUT (1 s) and was stopped"
    assert task["reasonForIncompletion"] == reason
    task_id = task["taskId"]
    stopped = shared.worker.wait_record("attempt_stopped", task_id=task_id)
    assert (stopped["failure_code"], stopped["limit_seconds"]) == ("attempt_timeout", 1.0)
    assert shared.worker.wait_record("task_failed", task_id=task_id)["failure_code"] == "attempt_timeout"
    return int((folder / "started").read_text())


def executor_of_next(shared: Shared) -> int:
    task = shared.run("environment")
    assert task["status"] == "COMPLETED", task
    return int(task["outputData"]["result"]["number"])  # type: ignore[index]


def test_a_body_that_takes_too_long_cleans_up_and_fails(timed: Shared, folder: Path) -> None:
    executor = failed_at_the_limit(timed, "clean", folder)
    assert (folder / "cleaned").exists()
    assert executor_of_next(timed) == executor


def test_a_body_that_returns_after_the_limit_has_failed(timed: Shared, folder: Path) -> None:
    executor = failed_at_the_limit(timed, "swallow", folder)
    assert executor_of_next(timed) == executor


def test_native_code_and_programs_of_a_body_do_not_outlive_the_limit(timed: Shared, tmp_path: Path) -> None:
    for action in ("native", "block", "child"):
        folder = tmp_path / action
        folder.mkdir()
        executor = failed_at_the_limit(timed, action, folder)
        gone = {executor, int((folder / "child").read_text())} if action == "child" else {executor}
        assert gone.isdisjoint(pids(timed.worker))
        assert executor_of_next(timed) != executor


def test_where_bodies_share_a_process_no_limit_holds_and_a_warning_says_so(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    limits = {"PERAGO_ATTEMPT_TIMEOUT": "500ms", "PERAGO_ATTEMPT_MEMORY_LIMIT": "1KB"}
    arguments = ("-j", "2", "--execution-mode", "thread")
    with Worker(tmp_path, conductor.url, task_name, *arguments, **limits) as worker:
        said = "\n".join(worker.stderr)
        for name in limits:
            assert f"{name} has no effect in thread mode" in said
        assert Shared(conductor, worker, task_name).run("sleep", number=1)["status"] == "COMPLETED"


def test_an_attempt_beyond_its_memory_is_killed_with_what_it_started(
    conductor: Conductor, scenario: Path | None, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    limit = EXECUTOR_BYTES + 100 * MIB
    variables = {"PERAGO_ATTEMPT_MEMORY_LIMIT": f"{limit // MIB}MB"}
    with Worker(tmp_path, conductor.url, task_name, program=scenario, **variables) as worker:
        shared = Shared(conductor, worker, task_name)
        below, above = tmp_path / "below", tmp_path / "above"
        for folder in (below, above):
            folder.mkdir()
        # Long enough for a look, and left alone.
        assert shared.run("sleep", number=1)["status"] == "COMPLETED"
        before = executor_of_next(shared)
        # Neither the executor nor its child is above the limit alone.
        task = shared.run("hold", folder=str(above), number=300 * MIB)
        assert task["status"] == "FAILED", task
        reason = str(task["reasonForIncompletion"])
        assert f"more than PERAGO_ATTEMPT_MEMORY_LIMIT ({limit // MIB}.0MB)" in reason
        failed = worker.wait_record("task_failed", task_id=task["taskId"])
        assert failed["failure_code"] == "attempt_memory_limit"
        stopped = worker.wait_record("attempt_stopped", task_id=task["taskId"])
        assert stopped["used_bytes"] > stopped["limit_bytes"] == limit
        exited = worker.wait_record("executor_exited")
        assert (exited["cause"], exited["restart_delay_seconds"]) == ("body_stopped", 0)
        if (above / "child").exists():
            assert int((above / "child").read_text()) not in pids(worker)
        assert executor_of_next(shared) != before


def started_in(
    memory: MemoryCgroup, conductor: Conductor, task: str, root: Path, *arguments: str, **variables: str
) -> Worker:
    with memory.entered():
        return Worker(root, conductor.url, task, *arguments, SUITE_CGROUP=str(memory.path), **variables)


def start_holding(shared: Shared, root: Path, sizes: dict[str, int]) -> dict[str, str]:
    """Start bodies that hold so many bytes; return their workflows once they do."""
    runs = {}
    for name, size in sizes.items():
        folder = root / name
        folder.mkdir()
        runs[name] = shared.start("hold", folder=str(folder), number=size)
        until((folder / "started").exists, f"the body that holds {size} bytes")
    return runs


def test_the_largest_slot_of_a_container_that_is_nearly_full_is_stopped(
    memory: MemoryCgroup, conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with started_in(memory, conductor, task_name, tmp_path, "-j", "2") as worker:
        until(lambda: len(worker.executors()) == 2, "two executors")
        shared = Shared(conductor, worker, task_name)
        runs = start_holding(shared, tmp_path, {"small": 60 * MIB, "large": 200 * MIB})
        memory.fill_to(97)
        task = conductor.wait_task(runs["large"])
        assert task["status"] == "FAILED", task
        reason = str(task["reasonForIncompletion"])
        assert reason.startswith("memory was about to run out: the container used "), reason
        stopped = worker.wait_record("attempt_stopped", task_id=task["taskId"])
        assert stopped["failure_code"] == "executor_out_of_memory"
        assert f"number {stopped['slot']} used most" in reason
        (tmp_path / "small" / "go").touch()
        assert conductor.wait_task(runs["small"])["status"] == "COMPLETED"
        assert len(worker.records("attempt_stopped")) == 1


def killed(worker: Worker) -> None:
    """Kill all of a worker at once."""
    processes = worker.processes()
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    worker.wait()


def test_a_worker_that_the_kernel_has_killed_is_reported_by_the_next(
    memory: MemoryCgroup, conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name)
    variables = {"PERAGO_CONTAINER_MEMORY_THRESHOLD": "off"}
    with started_in(memory, conductor, task_name, tmp_path, **variables) as worker:
        run = conductor.start(task_name, {"action": "memory", "folder": str(folder), "text": "gated"})
        until((folder / "started").exists, "the body's start")
        # The kernel takes the supervisor instead of the executor, as it would take a whole memory.
        Path(f"/proc/{worker.process.pid}/oom_score_adj").write_text("1000")
        memory.leave_bytes(50 * MIB)
        (folder / "go").touch()
        assert worker.wait() == -signal.SIGKILL
    assert_reported(memory, conductor, task_name, tmp_path, run, "yes")


def test_a_container_that_died_nearly_full_is_reported_by_the_next(
    memory: MemoryCgroup, conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    variables = {"PERAGO_CONTAINER_MEMORY_THRESHOLD": "off"}
    with started_in(memory, conductor, task_name, tmp_path, **variables) as worker:
        run = start_holding(Shared(conductor, worker, task_name), tmp_path, {"large": 200 * MIB})["large"]
        memory.fill_to(97)
        note = next((tmp_path / "state" / "perago").glob("*/memory"))
        until(lambda: '"slots":[{' in note.read_text(), "a look at the container")
        killed(worker)
    # Without the cgroup there is no count of the kernel's either.
    assert_reported(None, conductor, task_name, tmp_path, run, "probably")


def test_a_worker_that_somebody_has_killed_gives_its_task_back(
    memory: MemoryCgroup, conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name)
    with started_in(memory, conductor, task_name, tmp_path) as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        until((folder / "started").exists, "the body's start")
        killed(worker)
    (folder / "go").touch()
    with started_in(memory, conductor, task_name, tmp_path) as worker:
        assert worker.wait_record("predecessor_killed")["out_of_memory"] == "no"
        assert conductor.wait_task(run)["status"] == "COMPLETED"
        assert worker.stop() == 0
    with started_in(memory, conductor, task_name, tmp_path) as worker:
        # One that was stopped is no death.
        assert len(worker.records("predecessor_killed")) == 1


def assert_reported(
    memory: MemoryCgroup | None, conductor: Conductor, task_name: str, root: Path, run: str, word: str
) -> None:
    """Start the successor, which fails the attempt instead of giving its task back."""
    if memory is None:
        worker = Worker(root, conductor.url, task_name)
    else:
        worker = started_in(memory, conductor, task_name, root)
    with worker:
        task: dict[str, Any] = conductor.wait_task(run)
        assert task["status"] == "FAILED", task
        assert "memory ran out" in task["reasonForIncompletion"]
        found = worker.wait_record("predecessor_killed")
        assert (found["out_of_memory"], found["failed_task_ids"]) == (word, [task["taskId"]])
