"""`perago pause` and `perago resume` of a running worker."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from support.command import environment, perago_command
from support.conductor import Conductor
from support.health import readiness
from support.proxy import Proxy
from support.waiting import until
from support.worker import Worker

from .test_leases import is_beat


def command(root: Path, *arguments: str) -> str:
    """Run a command in the environment of the worker below `root`; return what it says."""
    ran = subprocess.run(
        [*perago_command(), *arguments], env=environment(root), capture_output=True, text=True, check=False
    )
    assert (ran.returncode in {0, 1}, ran.stderr) == (True, "")
    return ran.stdout


def status(root: Path) -> dict[str, Any]:
    return dict(json.loads(command(root, "status", "--json")))


def test_a_paused_worker_takes_nothing_and_finishes_what_runs(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, responseTimeoutSeconds=4, retryCount=0)
    arguments = ("-j", "2", "--health-listen", "127.0.0.1:0")
    with Worker(tmp_path, proxy.url, task_name, *arguments) as worker:
        running = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")

        said = command(tmp_path, "pause")
        assert said.startswith(f"paused: the worker with pid {worker.process.pid} takes no more tasks"), said
        waiting = conductor.start(task_name, {"action": "echo"})
        worker.wait_record("worker_paused")
        until(lambda: readiness(worker) == (503, "paused", ["paused"]), "a pause")
        assert status(tmp_path)["paused"] is True
        assert command(tmp_path, "pause").startswith("paused already: ")

        def beats() -> int:
            return len([post for post in proxy.seen("POST", "/tasks") if is_beat(post)])

        # Between three beats are more than two seconds: time for the poll that was under way, and for others.
        before = beats()
        until(lambda: beats() >= before + 3, "beats of the body that runs")
        assert len(worker.records("task_received")) == 1
        assert conductor.last_task(waiting)["status"] == "SCHEDULED"
        (folder / "go").touch()
        assert conductor.wait(running)["status"] == "COMPLETED"
        polls = len(proxy.seen("GET", "/tasks/poll"))

        said = command(tmp_path, "resume")
        assert said.startswith(f"resumed: the worker with pid {worker.process.pid} takes tasks"), said
        assert conductor.wait(waiting)["status"] == "COMPLETED"
        assert len(proxy.seen("GET", "/tasks/poll")) > polls
        until(lambda: readiness(worker)[0] == 200, "readiness")
        assert len(worker.records("worker_resumed")) == 1
        assert status(tmp_path)["paused"] is False
        assert worker.stop() == 0


def test_a_pause_outlives_its_worker(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name) as worker:
        command(tmp_path, "pause")
        worker.wait_record("worker_paused")
        assert worker.stop() == 0
    run = conductor.start(task_name, {"action": "echo"})
    with Worker(tmp_path, conductor.url, task_name) as worker:
        assert worker.stderr[0].startswith("paused, not polling: ")
        assert [record["paused"] for record in worker.records("worker_started")] == [False, True]
        assert conductor.last_task(run)["status"] == "SCHEDULED"
        command(tmp_path, "resume")
        assert conductor.wait(run)["status"] == "COMPLETED"


def test_a_worker_that_is_paused_from_the_start_ends_when_told(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    assert command(tmp_path, "pause").startswith("paused: no worker runs, the next one takes no tasks")
    with Worker(tmp_path, conductor.url, task_name) as worker:
        assert worker.stop() == 0
        events = [record["event"] for record in worker.records()]
        assert events == ["worker_started", "worker_draining", "worker_stopped"]
