"""Leases: kept while a body runs, noticed when lost, results that outlive an outage."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from support.conductor import Conductor
from support.proxy import Answer, Drop, Exchange, Proxy
from support.waiting import SLACK_SECONDS, until
from support.worker import Worker


def is_beat(exchange: Exchange) -> bool:
    return exchange.path.endswith("/tasks") and bool(json.loads(exchange.body).get("extendLease"))


def is_result(exchange: Exchange) -> bool:
    return exchange.method == "POST" and exchange.path.endswith("/tasks") and not is_beat(exchange)


def started(folder: Path) -> None:
    until(lambda: (folder / "started").exists(), "the body's start")


def test_a_body_longer_than_its_lease_runs_once(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name, responseTimeoutSeconds=4, retryCount=3)
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "sleep", "number": 7})
        until(lambda: conductor.last_task(run)["status"] == "IN_PROGRESS", "the poll")
        while conductor.status(run) == "RUNNING":
            # Timeouts of the real server fire when a run is evaluated.
            conductor.decide(run)
            threading.Event().wait(0.25)
        workflow = conductor.workflow(run)
        assert workflow["status"] == "COMPLETED"
        (task,) = workflow["tasks"]
        assert (task["retryCount"], task["pollCount"], task["status"]) == (0, 1, "COMPLETED")
        until(
            lambda: [read for read in proxy.seen("GET", task["taskId"]) if b"COMPLETED" in read.answer],
            "read-back",
        )
        posts = proxy.seen("POST", "/tasks")
        beats = [index for index, exchange in enumerate(posts) if is_beat(exchange)]
        results = [index for index, exchange in enumerate(posts) if is_result(exchange)]
        # One in each third of the lease; a busy machine may need more time for the body, or skip one.
        assert 2 <= len(beats) <= 10
        # No beat may follow the result: it could undo it.
        assert len(results) == 1
        assert max(beats) < results[0]
        assert worker.records("task_lost") == []


def test_a_lost_task_stops_its_body_and_nothing_is_reported(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, responseTimeoutSeconds=6)
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "child", "folder": str(folder)})
        started(folder)
        before = {process.pid for process in worker.executors()}
        conductor.terminate(run)
        ended = time.monotonic()
        until(
            lambda: before.isdisjoint(process.pid for process in worker.executors()),
            "the body's end",
            2 + SLACK_SECONDS,
        )
        child = int((folder / "child").read_text())
        until(lambda: child not in {process.pid for process in worker.processes()}, "the end of its child")
        assert time.monotonic() - ended < 2 + SLACK_SECONDS
        lost = worker.wait_record("task_lost")
        assert lost["workflow_instance_id"] == run
        # The slot is free again and only the second task is reported.
        second = conductor.wait_task(conductor.start(task_name, {"action": "echo"}))
        assert second["status"] == "COMPLETED"
        reported = until(
            lambda: {
                json.loads(post.body)["taskId"] for post in proxy.seen("POST", "/tasks") if is_result(post)
            },
            "the second task's report",
        )
        assert reported == {second["taskId"]}
        assert conductor.last_task(run)["status"] == "CANCELED"


def test_an_outage_during_a_body_costs_nothing(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, responseTimeoutSeconds=12, retryCount=3)
    with Worker(tmp_path, proxy.url, task_name, "-j", "2") as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        started(folder)
        pid = int((folder / "started").read_text())
        proxy.cut()
        worker.wait_record("poll_failed")
        (folder / "go").touch()
        # The result is ready and tried at least twice before the server is back.
        until(lambda: len(worker.records("update_failed")) >= 2, "vain updates")
        assert conductor.status(run) == "RUNNING"
        proxy.restore()
        workflow = conductor.wait(run)
        assert (workflow["status"], len(workflow["tasks"])) == ("COMPLETED", 1)
        assert pid in {process.pid for process in worker.executors()}
        worker.wait_record("poll_recovered")
        assert conductor.wait(conductor.start(task_name, {"action": "echo"}))["status"] == "COMPLETED"


def test_a_result_whose_answer_is_lost_is_delivered_once_more(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    dropped: list[Exchange] = []

    def drop_first_answers(exchange: Exchange) -> Answer | None:
        if is_post_of_result(exchange) and len(dropped) < 2:
            dropped.append(exchange)
            raise Drop
        return None

    proxy.after = drop_first_answers
    conductor.define(task_name)
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "echo", "text": "once"})
        task: Any = conductor.wait_task(run)
        assert task["outputData"]["result"]["text"] == "once"
        until(
            lambda: len([post for post in proxy.seen("POST", "/tasks") if is_result(post)]) == 3,
            "a third update",
        )
        assert len(worker.records("update_failed")) == 2
        assert len(conductor.workflow(run)["tasks"]) == 1


def is_post_of_result(exchange: Exchange) -> bool:
    return exchange.method == "POST" and is_result(exchange)


def test_a_result_that_is_refused_for_a_while_arrives(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    refusals = [503, 500, 429]

    def refuse(request: Exchange) -> Answer | None:
        if is_post_of_result(request) and refusals:
            body = {"status": refusals[0], "message": "database is locked", "retryable": True}
            return Answer(refusals.pop(0), json.dumps(body).encode())
        return None

    proxy.before = refuse
    conductor.define(task_name)
    with Worker(tmp_path, proxy.url, task_name):
        assert conductor.wait(conductor.start(task_name, {"action": "echo"}))["status"] == "COMPLETED"
    assert refusals == []


def test_a_slow_beat_never_overlaps_the_result(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, responseTimeoutSeconds=6)
    let_go, held = threading.Event(), threading.Event()

    def hold_beats(request: Exchange) -> Answer | None:
        if request.method == "POST" and is_beat(request):
            held.set()
            assert let_go.wait(20)
        return None

    proxy.before = hold_beats
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        started(folder)
        assert held.wait(20)
        (folder / "go").touch()
        worker.wait_record("task_finished")
        assert [post for post in proxy.seen("POST", "/tasks") if is_result(post)] == []
        let_go.set()
        assert conductor.wait(run)["status"] == "COMPLETED"

        def order() -> list[str]:
            return ["beat" if is_beat(post) else "result" for post in proxy.seen("POST", "/tasks")]

        until(lambda: order() == ["beat", "result"], "one beat and then the result")


def test_a_lapsed_lease_stops_the_body_only_where_that_is_asked_for(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, folder: Path
) -> None:
    # So long that no busy server times the task out before the way to it is cut.
    conductor.define(task_name, responseTimeoutSeconds=5)
    with Worker(tmp_path, proxy.url, task_name, PERAGO_LEASE_POLICY="strict") as worker:
        conductor.start(task_name, {"action": "clean", "folder": str(folder)})
        started(folder)
        proxy.cut()
        worker.wait_record("lease_lapsed")
        assert worker.wait_record("task_failed")["failure_code"] == "lease_lost"
        assert (folder / "cleaned").exists()


def test_a_body_that_cannot_be_stopped_keeps_its_result(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, responseTimeoutSeconds=2)
    arguments = ("-j", "2", "--execution-mode", "thread")
    with Worker(tmp_path, proxy.url, task_name, *arguments, PERAGO_LEASE_POLICY="strict") as worker:
        # Longer than the lease by itself.
        conductor.start(task_name, {"action": "sleep", "number": 3})
        worker.wait_record("task_started")
        proxy.cut()
        worker.wait_record("task_finished")
        assert not worker.records("lease_lapsed")
