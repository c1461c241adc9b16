"""Stopping: idle, busy, told twice, by deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from support.conductor import Conductor
from support.proxy import Answer, Exchange, Proxy
from support.waiting import SLACK_SECONDS, until
from support.worker import ONE_ORDER_SECONDS, Worker

from .test_leases import is_beat

POLL_SECONDS = 1.0
STOPS = 8


def test_an_idle_worker_ends_with_its_poll(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    times = []
    for number in range(STOPS):
        with Worker(tmp_path / str(number), conductor.url, task_name) as worker:
            sent = worker.signal(signal.SIGTERM if number % 2 else signal.SIGINT)
            assert worker.wait() == 0
            times.append(time.monotonic() - sent)
            assert worker.processes() == []
    # However busy the machine is, one of them was not held up.
    assert min(times) <= 0.2 + 0.2 + 0.8, times
    assert max(times) <= 0.2 + 0.2 + SLACK_SECONDS, times


def test_the_default_poll_is_waited_for_and_no_longer(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, poll_timeout=None) as worker:
        sent = worker.signal()
        assert worker.wait() == 0
        assert time.monotonic() - sent <= POLL_SECONDS + 0.2 + SLACK_SECONDS
        events = [record["event"] for record in worker.records()]
        assert events == ["worker_started", "worker_draining", "worker_stopped"]
        (path,) = worker.log_files()
        assert worker.stderr[-1] == f"log: {path}"


def test_a_busy_worker_drains_with_its_heartbeat(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, responseTimeoutSeconds=4, retryCount=3)
    with Worker(tmp_path, proxy.url, task_name, "-j", "2") as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        worker.signal()
        worker.wait_record("worker_draining")

        def beats() -> int:
            return len([post for post in proxy.seen("POST", "/tasks") if is_beat(post)])

        before = beats()
        # Four beats more: the lease of four seconds would have run out without them.
        until(lambda: beats() >= before + 4, "beats while draining")
        waiting = conductor.start(task_name, {"action": "echo"})
        assert worker.process.poll() is None
        (folder / "go").touch()
        assert worker.wait() == 0
        assert conductor.status(run) == "COMPLETED"
        assert len(conductor.workflow(run)["tasks"]) == 1
        assert conductor.last_task(waiting)["pollCount"] == 0
        conductor.terminate(waiting)


def test_a_second_signal_ends_at_once(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name) as worker:
        conductor.start(task_name, {"action": "child", "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        worker.signal()
        worker.wait_record("worker_draining")
        with pytest.raises(subprocess.TimeoutExpired):
            worker.process.wait(ONE_ORDER_SECONDS)
        sent = worker.signal()
        assert worker.wait() == 4
        assert time.monotonic() - sent <= 0.2 + SLACK_SECONDS
        assert worker.processes() == []


def test_the_deadline_gives_the_task_back(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, retryCount=3)
    with Worker(tmp_path, conductor.url, task_name, PERAGO_SHUTDOWN_FORCE_KILL_AFTER="1s") as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        claimed = conductor.last_task(run)
        sent = worker.signal()
        assert worker.wait() == 4
        # Told to stop in the last quarter, at which this body ends.
        assert 0.75 <= time.monotonic() - sent <= 1 + SLACK_SECONDS
        assert worker.processes() == []
        (tasks,) = (conductor.workflow(run)["tasks"],)
        assert [(task["taskId"], task["status"], task["retryCount"]) for task in tasks] == [
            (claimed["taskId"], "SCHEDULED", 0)
        ]
    (folder / "go").touch()
    with Worker(tmp_path, conductor.url, task_name):
        task: Any = conductor.wait_task(run)
        assert (task["taskId"], task["status"], task["pollCount"]) == (claimed["taskId"], "COMPLETED", 2)


@pytest.mark.parametrize("is_taken", [True, False], ids=["taken", "refused"])
def test_what_the_last_poll_brings_is_given_back(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, is_taken: bool
) -> None:
    conductor.define(task_name, retryCount=3)
    brought, draining = threading.Event(), threading.Event()

    def hold_what_is_brought(exchange: Exchange) -> Answer | None:
        if "/tasks/poll/" in exchange.path and b"taskId" in exchange.answer:
            brought.set()
            assert draining.wait(20)
        return None

    def refuse(exchange: Exchange) -> Answer | None:
        return Answer(503, b"{}") if exchange.path.endswith("/tasks") else None

    proxy.after = hold_what_is_brought
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "echo"})
        assert brought.wait(20)
        if not is_taken:
            proxy.before = refuse
        worker.signal()
        worker.wait_record("worker_draining")
        draining.set()
        assert worker.wait() == 0
        (released,) = worker.records("task_released")
        assert released["released"] is is_taken
        assert worker.records("task_received") == []
    task = conductor.last_task(run)
    shown = "SCHEDULED" if is_taken else "IN_PROGRESS"
    assert (task["status"], task["retryCount"], task["pollCount"]) == (shown, 0, 1)
    # What was not taken is owed by this state directory; for the rest another one is as good.
    with Worker(tmp_path / "next" if is_taken else tmp_path, conductor.url, task_name):
        assert conductor.wait(run)["status"] == "COMPLETED"


def test_a_server_that_is_gone_does_not_hold_an_idle_worker(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, proxy.url, task_name, poll_timeout=None) as worker:
        proxy.cut()
        worker.wait_record("poll_failed")
        sent = worker.signal()
        assert worker.wait() == 0
        assert time.monotonic() - sent <= POLL_SECONDS + 0.2 + SLACK_SECONDS


def test_a_signal_to_every_process_lets_the_body_end(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, "-j", "2") as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        # What a service manager does: to every process, and once more to the first. That is one order. Both
        # reach the supervisor when it goes on, however long this process takes to send them.
        processes = worker.processes()
        worker.signal(signal.SIGSTOP)
        for process in processes:
            os.kill(process.pid, signal.SIGTERM)
        worker.signal(signal.SIGINT)
        worker.signal(signal.SIGCONT)
        worker.wait_record("worker_draining")
        (folder / "go").touch()
        assert worker.wait() == 0
        assert conductor.wait(run)["status"] == "COMPLETED"
        assert worker.records("executor_exited") == []


def test_a_worker_that_is_still_starting_ends_at_once(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    asked, release = threading.Event(), threading.Event()

    def hold(request: Exchange) -> Answer | None:
        asked.set()
        release.wait(20)
        return None

    proxy.before = hold
    worker = Worker(tmp_path, proxy.url, task_name, "-j", "2")
    try:
        assert asked.wait(20)
        sent = worker.signal()
        assert worker.wait() == 0
        assert time.monotonic() - sent <= 0.2 + SLACK_SECONDS
    finally:
        release.set()
        worker.end()
