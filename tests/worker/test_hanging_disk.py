"""A disk that hangs for ever: whatever waits for it, a worker that is told to stop ends."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.lake import Lake
from support.waiting import SLACK_SECONDS, until
from support.worker import ONE_ORDER_SECONDS, Worker

from .test_workspaces import lake, lake_variables, pinned

__all__ = ["lake"]

SOURCE = Path(__file__).resolve().parents[1] / "support" / "hanging_disk.c"


@pytest.fixture(scope="module")
def hanging_disk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library to be preloaded."""
    library = tmp_path_factory.mktemp("preloaded") / "hanging_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
    return str(library)


def test_a_directory_that_cannot_be_removed_holds_no_drain(
    conductor: Conductor, lake: Lake, task_name: str, tmp_path: Path, hanging_disk: str
) -> None:
    conductor.define(task_name, has_workspace=True)
    variables = {**lake_variables(lake), "LD_PRELOAD": hanging_disk}
    with Worker(tmp_path, conductor.url, task_name, module="editing", **variables) as worker:
        for _ in range(2):
            run = conductor.start(task_name, {"write": {"hangs": "x"}}, pinned(lake))
            assert conductor.wait_task(run)["status"] == "COMPLETED", "a slot waits for it"
        sent = worker.signal()
        assert worker.wait() == 4
        # Five seconds are given to removals.
        assert time.monotonic() - sent <= 5 + 1 + SLACK_SECONDS
        (left,) = worker.records("workspace_left")
        assert left["open_attempts"] == 2
        assert worker.processes() == []


@pytest.mark.parametrize("by_deadline", [True, False])
def test_a_supervisor_that_the_disk_holds_ends(
    conductor: Conductor, task_name: str, tmp_path: Path, hanging_disk: str, by_deadline: bool
) -> None:
    conductor.define(task_name)
    sign = tmp_path / "hangs now"
    variables = {
        "PERAGO_JOURNAL_SYNC": "always",
        "LD_PRELOAD": hanging_disk,
        "SUITE_DISK_HANGS": str(sign),
    }
    if by_deadline:
        variables["PERAGO_SHUTDOWN_FORCE_KILL_AFTER"] = "2s"
    with Worker(tmp_path, conductor.url, task_name, **variables) as worker:
        sign.touch()
        run = conductor.start(task_name, {"action": "echo"})
        until(lambda: conductor.last_task(run)["status"] == "IN_PROGRESS", "the claim")
        sent = worker.signal()
        if not by_deadline:
            with pytest.raises(subprocess.TimeoutExpired):
                worker.process.wait(ONE_ORDER_SECONDS)
            sent = worker.signal()
        assert worker.wait() == 4
        assert time.monotonic() - sent <= 2 + SLACK_SECONDS
        until(lambda: not worker.processes(), "the end of its executors")
        assert not worker.records("worker_draining"), "the supervisor was not held"
    conductor.terminate(run)
