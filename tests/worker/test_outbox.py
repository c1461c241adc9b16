"""Finished work outlives its worker: results are delivered by the next one, or kept with the reason."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from support.command import environment, perago_command
from support.conductor import Conductor
from support.proxy import Answer, Drop, Exchange, Proxy
from support.waiting import until
from support.worker import Worker


def is_result(exchange: Exchange) -> bool:
    return (
        exchange.method == "POST"
        and exchange.path.endswith("/tasks")
        and json.loads(exchange.body).get("status") != "IN_PROGRESS"
    )


def refuse_results(exchange: Exchange) -> Answer | None:
    return Answer(503, b"{}") if is_result(exchange) else None


def status(root: Path) -> tuple[int, dict[str, Any]]:
    """What `perago status` says of the worker that lives below `root`."""
    ran = subprocess.run(
        [*perago_command(), "status", "--json"], env=environment(root), capture_output=True, text=True
    )
    assert ran.stderr == ""
    return ran.returncode, json.loads(ran.stdout)


def killed_with_a_result(conductor: Conductor, proxy: Proxy, task: str, root: Path, text: str = "") -> str:
    """Kill a worker whose result the server has refused; return the run."""
    conductor.define(task)
    proxy.before = refuse_results
    with Worker(root, proxy.url, task) as worker:
        run = conductor.start(task, {"action": "echo", "text": text})
        worker.wait_record("update_failed")
        worker.signal(signal.SIGKILL)
        worker.wait()
    return run


def test_a_result_outlives_the_kill_of_its_worker(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name, retryCount=3)
    proxy.before = refuse_results
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "echo", "text": "kept"})
        worker.wait_record("update_failed")
        worker.signal(signal.SIGKILL)
        with Worker(tmp_path, conductor.url, task_name):
            task = conductor.wait_task(run)
    assert (task["status"], task["retryCount"], task["pollCount"]) == ("COMPLETED", 0, 1)
    assert task["outputData"]["result"]["text"] == "kept"
    assert len(worker.records("task_started")) == 1, "the body ran twice"
    assert worker.records("result_recovered") == [], "the server may still undo it"


def test_a_result_that_nobody_has_read_is_delivered(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, retryCount=3)
    with Worker(tmp_path, conductor.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder), "text": "written"})
        until(lambda: (folder / "started").exists(), "the body's start")
        (results,) = (tmp_path / "state").rglob("results")
        worker.signal(signal.SIGSTOP)
        (folder / "go").touch()
        until(
            lambda: [file for file in results.glob("*.result") if file.stat().st_size], "the outcome's file"
        )
        worker.signal(signal.SIGKILL)
        with Worker(tmp_path, conductor.url, task_name):
            task = conductor.wait_task(run)
    assert (task["status"], task["pollCount"]) == ("COMPLETED", 1)
    assert len(worker.records("task_started")) == 1, "the body ran twice"


def test_a_stopped_worker_leaves_its_result_to_the_next_one(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    proxy.before = refuse_results
    with Worker(tmp_path, proxy.url, task_name, PERAGO_SHUTDOWN_FORCE_KILL_AFTER="1s") as worker:
        run = conductor.start(task_name, {"action": "echo", "text": "late"})
        worker.wait_record("update_failed")
        assert worker.stop() == 4
        assert len(worker.records("result_waits")) == 1
    code, shown = status(tmp_path)
    (entry,) = shown["entries"]
    assert (code, shown["undelivered"], entry["state"]) == (1, 1, "waiting")
    assert entry["result"]["outputData"]["result"]["text"] == "late"
    with Worker(tmp_path, proxy.url, task_name) as worker:
        worker.wait_record("recovery_waits")
        proxy.before = lambda _: None
        assert conductor.wait_task(run)["outputData"]["result"]["text"] == "late"
        # Written down until the time is over in which a late beat could undo it.
        assert worker.stop() == 0


def test_a_task_that_could_not_be_given_back_is_left_to_the_next_one(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name, retryCount=0)
    with Worker(tmp_path, proxy.url, task_name, PERAGO_SHUTDOWN_FORCE_KILL_AFTER="1s") as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(tmp_path)})
        until(lambda: (tmp_path / "started").exists(), "the body's start")
        proxy.before = lambda exchange: Answer(503, b"{}") if exchange.path.endswith("/tasks") else None
        assert worker.stop() == 4
        (released,) = worker.records("task_released")
    assert not released["released"]
    (entry,) = status(tmp_path)[1]["entries"]
    assert (entry["workflow_instance_id"], entry["state"]) == (run, "interrupted")
    (tmp_path / "go").touch()
    with Worker(tmp_path, conductor.url, task_name) as worker:
        worker.wait_record("task_recovered")
        assert conductor.wait_task(run)["status"] == "COMPLETED"


def test_what_a_dead_worker_ran_is_interrupted(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(tmp_path)})
        until(lambda: (tmp_path / "started").exists(), "the body's start")
        code, shown = status(tmp_path)
        assert (code, shown["entries"][0]["state"]) == (1, "running")
        assert shown["supervisor_pid"] == worker.process.pid
        assert worker.command("status").stdout.startswith("running ")
        worker.kill()
        code, shown = status(tmp_path)
        assert (code, shown["entries"][0]["state"], shown["supervisor_pid"]) == (1, "interrupted", None)
        assert (shown["undelivered"], worker.command("status").returncode) == (1, 1)
        lines = worker.command("status").stdout.splitlines()
        assert lines[0].startswith("interrupted ")
        assert lines[1].startswith("no worker runs; the next one ")
    conductor.terminate(run)


def test_a_task_that_the_server_will_never_take_back_is_closed(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(tmp_path)})
        until(lambda: (tmp_path / "started").exists(), "the body's start")
        worker.kill()
    proxy.before = lambda exchange: (
        Answer(400, b'{"message": "no"}') if exchange.path.endswith("/tasks") else None
    )
    with Worker(tmp_path, proxy.url, task_name) as worker:
        record = worker.wait_record("release_refused")
        assert record["reason"].startswith("the server refuses to take it back: ")
        code, shown = status(tmp_path)
        assert (code, shown["entries"]) == (0, [])
        assert worker.records("recovery_waits") == []
    conductor.terminate(run)


def test_a_result_that_came_too_late_is_kept(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.terminate(killed_with_a_result(conductor, proxy, task_name, tmp_path))
    with Worker(tmp_path, conductor.url, task_name) as worker:
        record = worker.wait_record("result_kept")
        assert record["reason"] == "the task ended without it: CANCELED"
        code, shown = status(tmp_path)
        (entry,) = shown["entries"]
        assert (code, shown["undelivered"], entry["state"]) == (0, 0, "kept")
        assert entry["reason"] == record["reason"]


def test_an_unreachable_server_delays_the_successor_and_loses_nothing(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    run = killed_with_a_result(conductor, proxy, task_name, tmp_path, "patient")

    def away(exchange: Exchange) -> Answer | None:
        if f"/tasks/{task_id}" in exchange.path or is_result(exchange):
            raise Drop
        return None

    task_id = conductor.last_task(run)["taskId"]
    proxy.before = away
    with Worker(tmp_path, proxy.url, task_name) as worker:
        worker.wait_record("recovery_waits")
        proxy.before = lambda _: None
        assert conductor.wait_task(run)["outputData"]["result"]["text"] == "patient"


def test_a_newer_journal_is_refused_and_left_alone(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name) as worker:
        assert worker.stop() == 0
    (journal,) = (tmp_path / "state").rglob("journal")
    journal.write_text("perago-journal 999\nfrom the future")
    later = Worker(tmp_path, conductor.url, task_name)
    assert later.wait() == 1
    assert any("is of format 999" in line for line in later.stderr), later.stderr
    assert journal.read_text() == "perago-journal 999\nfrom the future"
    assert journal.stat().st_mode & 0o077 == 0
