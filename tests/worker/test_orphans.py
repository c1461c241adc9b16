"""However a worker ends, nothing of it stays, and its successor takes over at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.waiting import SLACK_SECONDS, until
from support.worker import Worker


def everything_gone(worker: Worker) -> bool:
    return worker.processes() == []


@pytest.mark.parametrize(("trial", "action"), list(enumerate(["idle", "gate", "child", "gate", "child"])))
def test_a_killed_supervisor_leaves_nothing(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path, trial: int, action: str
) -> None:
    # The poll that an idle worker had under way may claim the next task and lose it.
    lease = {"responseTimeoutSeconds": 2} if action == "idle" else {}
    conductor.define(task_name, retryCount=3, **lease)
    worker = Worker(tmp_path, conductor.url, task_name, "-j", "2")
    with worker:
        run = ""
        if action != "idle":
            run = conductor.start(task_name, {"action": action, "folder": str(folder)})
            until(lambda: (folder / "started").exists(), "the body's start")
        else:
            until(lambda: len(worker.executors()) == 2, "both executors")
        assert len(worker.processes()) >= 4
        worker.signal(signal.SIGKILL)
        # Started while the guardian still clears up: it waits for the end of what was left.
        with Worker(tmp_path, conductor.url, task_name, "-j", "2") as successor:
            until(lambda: everything_gone(worker), f"the end of {worker.processes()}", 1 + SLACK_SECONDS)
            assert successor.seconds_to_ready < worker.seconds_to_ready + 3 + SLACK_SECONDS
            if run:
                (folder / "go").touch()
                # Given back by the successor: nobody waits for the response timeout, and no retry is used up.
                task = conductor.wait_task(run)
                assert (task["status"], task["retryCount"], task["pollCount"]) == ("COMPLETED", 0, 2)
            else:
                assert conductor.wait(conductor.start(task_name, {"action": "echo"}))["status"] == "COMPLETED"
        assert worker.wait() == -signal.SIGKILL


def test_nothing_is_left_a_second_after_the_kill(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, "-j", "2") as worker:
        until(lambda: len(worker.executors()) == 2, "both executors")
        worker.signal(signal.SIGKILL)
        until(lambda: everything_gone(worker), f"the end of {worker.processes()}", 1 + SLACK_SECONDS)


def test_a_worker_without_its_guardian_ends(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, "-j", "2") as worker:
        conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        os.kill(worker.guardian().pid, signal.SIGKILL)
        assert worker.wait() == 3
        until(lambda: everything_gone(worker), f"the end of {worker.processes()}", 1 + SLACK_SECONDS)
        assert "error: the worker cannot go on: the guardian process has ended" in worker.stderr
