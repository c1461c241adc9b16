"""Bodies whose task is no longer theirs: told to stop, given time, and killed with all they started."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.waiting import SLACK_SECONDS, until
from support.worker import Worker

from .conftest import Shared, new_task_name

LEASE_SECONDS = 5
# The task's status is read in each third of its lease.
NOTICED_SECONDS = LEASE_SECONDS / 3 + SLACK_SECONDS
GRACE_SECONDS = 1.0


@pytest.fixture(scope="module")
def cancelling(
    conductor: Conductor, scenario: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    """One slot, so that the next task gets the same executor."""
    task = new_task_name()
    conductor.define(task, responseTimeoutSeconds=LEASE_SECONDS)
    root = tmp_path_factory.mktemp("cancelling")
    with Worker(root, conductor.url, task, program=scenario, PERAGO_CANCEL_GRACE="1s") as worker:
        yield Shared(conductor, worker, task)


def cancel(shared: Shared, folder: Path, action: str) -> tuple[str, int]:
    """Cancel a body that runs; return its workflow and the executor."""
    run = shared.start(action, folder=str(folder))
    until(lambda: (folder / "started").exists(), "the body's start")
    shared.conductor.terminate(run)
    return run, int((folder / "started").read_text())


def executor_of_next(shared: Shared) -> int:
    """Run another task; return the process that ran it."""
    task = shared.run("environment")
    assert task["status"] == "COMPLETED", task
    return int(task["outputData"]["result"]["number"])  # type: ignore[index]


def test_a_cancelled_body_cleans_up_and_its_executor_goes_on(cancelling: Shared, folder: Path) -> None:
    run, executor = cancel(cancelling, folder, "clean")
    until(lambda: (folder / "cleaned").exists(), "the end of clean-up", NOTICED_SECONDS)
    stopped = cancelling.worker.wait_record("body_stopped", workflow_instance_id=run)
    assert stopped["killed"] is False
    # No new process, so no new import.
    assert executor_of_next(cancelling) == executor
    assert cancelling.conductor.last_task(run)["status"] == "CANCELED"
    assert cancelling.worker.records("task_failed", workflow_instance_id=run) == []


def test_a_body_that_goes_on_after_all_is_not_reported(
    cancelling: Shared, language: str, folder: Path
) -> None:
    run, executor = cancel(cancelling, folder, "swallow")
    assert cancelling.worker.wait_record("body_stopped", workflow_instance_id=run)["killed"] is False
    words = {"python": "the worker stops", "rust": "no longer this worker's"}
    assert words[language] in (folder / "caught").read_text()
    assert executor_of_next(cancelling) == executor
    assert cancelling.worker.records("task_finished", workflow_instance_id=run) == []


def test_a_body_in_native_code_is_killed_after_the_grace(cancelling: Shared, folder: Path) -> None:
    run, executor = cancel(cancelling, folder, "native")
    lost = cancelling.worker.wait_record("task_lost", workflow_instance_id=run)
    told = time.monotonic()
    assert cancelling.worker.wait_record("body_stopped", workflow_instance_id=run)["killed"] is True
    # Grace, then a second from SIGTERM to SIGKILL.
    assert time.monotonic() - told < GRACE_SECONDS + 1 + SLACK_SECONDS
    assert lost["level"] == "WARNING"
    until(lambda: executor not in {process.pid for process in cancelling.worker.processes()}, "its end")
    exited = cancelling.worker.wait_record("executor_exited", cause="body_stopped")
    assert exited["restart_delay_seconds"] == 0
    assert executor_of_next(cancelling) != executor


def test_what_a_cancelled_body_leaves_takes_the_executor_along(cancelling: Shared, folder: Path) -> None:
    run, executor = cancel(cancelling, folder, "child")
    child = int((folder / "child").read_text())
    # The slot is given back when everything is gone, not before.
    cancelling.worker.wait_record("body_stopped", workflow_instance_id=run)
    assert {child, executor}.isdisjoint(process.pid for process in cancelling.worker.processes())
    assert executor_of_next(cancelling) != executor


def seconds_to_drain(
    conductor: Conductor, task: str, root: Path, folder: Path, action: str, deadline: int
) -> float:
    """Stop a worker with a deadline while a body runs, whose task it gives back; return how long it took."""
    conductor.define(task)
    variables = {"PERAGO_SHUTDOWN_FORCE_KILL_AFTER": f"{deadline}s"}
    with Worker(root, conductor.url, task, **variables) as worker:
        run = conductor.start(task, {"action": action, "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        sent = worker.signal()
        assert worker.wait() == 4
        took = time.monotonic() - sent
        assert conductor.last_task(run)["status"] == "SCHEDULED"
        conductor.terminate(run)
    return took


def test_a_body_at_the_deadline_of_the_drain_cleans_up(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    # Told to stop a quarter before the last quarter.
    assert 2 <= seconds_to_drain(conductor, task_name, tmp_path, folder, "clean", 4) <= 4 + SLACK_SECONDS
    assert (folder / "cleaned").exists()


def test_a_body_that_ignores_the_deadline_is_killed_at_it(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    assert 6 <= seconds_to_drain(conductor, task_name, tmp_path, folder, "native", 8) <= 8 + SLACK_SECONDS


def test_a_slot_gets_a_new_executor_after_so_many_tasks(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, PERAGO_MAX_TASKS_PER_EXECUTOR="2") as worker:
        shared = Shared(conductor, worker, task_name)
        executors = [executor_of_next(shared) for _ in range(6)]
        assert executors[0::2] == executors[1::2]
        assert len(set(executors)) == 3
        assert worker.wait_record("executor_recycled")["level"] == "INFO"
        assert worker.records("executor_exited") == []


def test_a_thread_that_never_ends_does_not_keep_an_executor(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, PERAGO_MAX_TASKS_PER_EXECUTOR="1") as worker:
        shared = Shared(conductor, worker, task_name)
        assert shared.run("thread")["status"] == "COMPLETED"
        executor_of_next(shared)
        assert worker.wait_record("executor_recycled")["cause"] == "recycled"
