"""A retry of work whose result is kept reports that result: the body does not run again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.conductor import Conductor
from support.faults import BRANCH, COMMIT, MERGE
from support.proxy import Answer, Drop, Exchange, Proxy
from support.rust import rust_program
from support.waiting import until
from support.worker import MODULES, Worker, other_code
from support.workshop import BASE, Repository, Workshop, attempts, workspace_input

from .test_outbox import refuse_results, status

RETRIED = {"retryCount": 20, "responseTimeoutSeconds": 1}
# A body must have ended before its task can time out, on a busy machine too.
ENDED_IN_TIME = {**RETRIED, "responseTimeoutSeconds": 4}


def timed_out(conductor: Conductor, run: str) -> str:
    """Let the server time the first attempt of a run out and schedule its retry; return its task's id."""

    def is_retried() -> bool:
        conductor.decide(run)
        return len(conductor.workflow(run)["tasks"]) > 1

    until(is_retried, "the retry")
    first = conductor.workflow(run)["tasks"][0]
    assert first["status"] == "TIMED_OUT"
    return str(first["taskId"])


@pytest.mark.parametrize("language", ["python", "rust"])
def test_a_worker_adopts_its_own_result_when_it_is_handed_the_retry(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, language: str
) -> None:
    conductor.define(task_name, **ENDED_IN_TIME)
    proxy.before = refuse_results
    program = rust_program("scenario") if language == "rust" else None
    with Worker(tmp_path, proxy.url, task_name, "-j", "2", program=program) as worker:
        run = conductor.start(task_name, {"action": "echo", "text": "kept", "number": 7})
        worker.wait_record("update_failed")
        first = timed_out(conductor, run)
        record = worker.wait_record("result_adopted")
        assert (record["adopted_task_id"], record["retry_count"]) == (first, 1)
        proxy.before = lambda _: None
        task = conductor.wait_task(run)
        assert task["status"] == "COMPLETED"
        assert task["outputData"]["result"]["text"] == "kept"
        assert len(worker.records("task_started")) == 1
        # What the adopting attempt answers for is nobody else's.
        until(lambda: status(tmp_path)[1]["entries"] == [], "the end of both entries")


@pytest.mark.parametrize("code", ["same", "other"])
def test_the_successor_of_a_killed_worker_adopts_its_result(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, code: str
) -> None:
    conductor.define(task_name, **ENDED_IN_TIME)
    proxy.before = refuse_results
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "echo", "text": "kept"})
        worker.wait_record("update_failed")
        worker.signal(signal.SIGKILL)
        worker.wait()
    first = timed_out(conductor, run)
    modules = str(MODULES) if code == "same" else other_code(tmp_path)
    with Worker(tmp_path, conductor.url, task_name, modules=modules) as successor:
        task = conductor.wait_task(run)
        assert (task["status"], task["retryCount"]) == ("COMPLETED", 1)
        assert task["outputData"]["result"]["text"] == "kept"
        adopted = successor.records("result_adopted")
        assert [record["adopted_task_id"] for record in adopted] == ([first] if code == "same" else [])
        assert len(successor.records("task_started")) == (1 if code == "same" else 2)


def test_a_task_that_is_claimed_again_is_not_completed_but_adopted(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    proxy.before = refuse_results
    with Worker(tmp_path, proxy.url, task_name, "-j", "2") as worker:
        run = conductor.start(task_name, {"action": "echo", "text": "kept"})
        worker.wait_record("update_failed")
        task = conductor.last_task(run)
        back = {"workflowInstanceId": run, "taskId": task["taskId"], "status": "IN_PROGRESS"}
        conductor.call("POST", "/tasks", {**back, "callbackAfterSeconds": 0})
        record = worker.wait_record("result_adopted")
        assert (record["adopted_task_id"], record["retry_count"]) == (task["taskId"], 0)
        proxy.before = lambda _: None
        task = conductor.wait_task(run)
        assert (task["status"], task["pollCount"]) == ("COMPLETED", 2)
        assert task["outputData"]["result"]["text"] == "kept"
        assert len(worker.records("task_started")) == 1


@pytest.mark.parametrize("end", ["other output", "gone", "cancelled"])
def test_a_result_that_the_server_does_not_take_is_kept_with_the_reason(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path, end: str
) -> None:
    conductor.define(task_name)
    proxy.before = refuse_results
    with Worker(tmp_path, proxy.url, task_name) as worker:
        run = conductor.start(task_name, {"action": "echo", "text": "mine"})
        worker.wait_record("update_failed")
        match end:
            case "other output":
                theirs = {"workflowInstanceId": run, "taskId": conductor.last_task(run)["taskId"]}
                output = {"result": {"text": "theirs"}}
                done = {**theirs, "status": "COMPLETED", "outputData": output, "workerId": "somebody"}
                conductor.call("POST", "/tasks", done)
                reason = "the task ended without it: COMPLETED"
            case "gone":
                conductor.call("DELETE", f"/workflow/{run}/remove?archiveWorkflow=false")
                reason = "the server does not know the task any more"
            case _:
                conductor.terminate(run)
                reason = "the task ended without it: CANCELED"
        assert worker.wait_record("result_superseded")["reason"] == reason
        code, shown = status(tmp_path)
        (entry,) = shown["entries"]
        assert (code, shown["undelivered"], entry["state"], entry["reason"]) == (0, 0, "kept", reason)
        assert entry["result"]["outputData"]["result"]["text"] == "mine"
        proxy.before = lambda _: None
        assert worker.stop() == 0
    if end == "other output":
        assert conductor.last_task(run)["outputData"] == output


def test_what_a_body_returns_after_it_was_told_to_stop_is_kept_and_not_adopted(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, **RETRIED)
    with Worker(tmp_path, conductor.url, task_name, "-j", "2") as worker:
        run = conductor.start(task_name, {"action": "swallow", "folder": str(folder), "text": "half"})
        until(lambda: (folder / "started").exists(), "the body's start")
        os.kill(worker.process.pid, signal.SIGSTOP)
        try:
            timed_out(conductor, run)
        finally:
            os.kill(worker.process.pid, signal.SIGCONT)
        kept = worker.wait_record("result_superseded")
        assert kept["reason"] == "the task ended without it: TIMED_OUT"
        until(lambda: len(worker.records("task_started")) == 2, "the body's second run")
        (folder / "go").touch()
        assert conductor.wait_task(run)["retryCount"] == 1
        assert worker.records("result_adopted") == []
        _, shown = status(tmp_path)
        (entry,) = [entry for entry in shown["entries"] if entry["state"] == "kept"]
        assert entry["result"]["outputData"]["result"]["text"] == "half"


@pytest.fixture(scope="module")
def engine(embedded_url: str) -> Conductor:
    return Conductor(f"{embedded_url}/api", "embedded")


@pytest.fixture
def retried(engine: Conductor, embedded_url: str, tmp_path: Path) -> Iterator[Workshop]:
    """A worker of a workspace task that is retried soon after its worker has fallen silent."""
    with Workshop(tmp_path / "shop", engine, embedded_url, definition=RETRIED) as shop:
        yield shop


def die(shop: Workshop) -> Any:
    """What kills the worker at a call."""

    def at(_: Exchange) -> Answer | None:
        shop.worker.process.kill()
        raise Drop

    return at


def nothing_is_left(repository: Repository, worker: Worker) -> None:
    until(lambda: not attempts(worker), f"empty workspaces of {worker.root}", 10)
    until(lambda: repository.branches() == ["main"], "the end of staging branches", 10)


def told(worker: Worker, text: str) -> bool:
    return any(text in record.get("reason", "") for record in worker.records())


def bodies(worker: Worker) -> int:
    """How many bodies were run on this worker's folders."""
    return len(worker.records("task_started"))


@pytest.mark.parametrize("host", ["first", "another"])
@pytest.mark.parametrize("moment", ["staged", "published"])
def test_a_publication_that_was_under_way_is_finished_without_the_body(
    retried: Workshop, moment: str, host: str
) -> None:
    shop = retried
    repository = shop.repository()
    order = shop.script.before if moment == "staged" else shop.script.after
    order(MERGE, die(shop))
    run = shop.start(repository, write={"a": "changed"})
    until(lambda: shop.worker.process.poll() is not None, "the worker's death")
    before = repository.log()
    assert len(before) == (0 if moment == "staged" else 1)
    with shop.another(host) as second:
        task = shop.conductor.wait_task(run)
        (record,) = second.records("result_adopted")
        assert record["commit"] == task["outputData"]["workspace"]["ref"]
        assert bodies(second) == (1 if host == "first" else 0)
        nothing_is_left(repository, second)
    assert task["status"] == "COMPLETED", task
    (commit,) = repository.log()
    assert task["outputData"]["workspace"]["ref"] == commit["id"]
    assert before in ([], [commit])
    assert sorted(task["outputData"]["result"]["files"]) == ["a", "b", "d e/ä %2"]
    assert repository.files() == {**BASE, "in/a": "changed"}


@pytest.mark.parametrize("host", ["first", "another"])
def test_a_long_result_is_adopted_where_it_is_kept_alone(retried: Workshop, host: str) -> None:
    shop = retried
    files = {f"in/{number:03}-{'x' * 60}": "" for number in range(80)}
    repository = shop.repository(files)
    shop.script.before(MERGE, die(shop))
    run = shop.start(repository, write={"a": "changed"})
    until(lambda: shop.worker.process.poll() is not None, "the worker's death")
    with shop.another(host) as second:
        task = shop.conductor.wait_task(run)
        nothing_is_left(repository, second)
        assert len(second.records("result_adopted")) == (1 if host == "first" else 0)
        assert bodies(second) == 1
    assert task["status"] == "COMPLETED", task
    assert len(task["outputData"]["result"]["files"]) == len(files)
    (commit,) = repository.log()
    assert "perago.result" not in commit["metadata"]
    assert repository.files() == {**files, "in/a": "changed"}


@pytest.mark.parametrize("call", [BRANCH, COMMIT], ids=lambda call: call.name)
def test_a_body_whose_changes_were_not_staged_runs_again(retried: Workshop, call: Any) -> None:
    shop = retried
    repository = shop.repository()
    shop.script.before(call, die(shop))
    run = shop.start(repository, write={"a": "changed"})
    until(lambda: shop.worker.process.poll() is not None, "the worker's death")
    with shop.another("first") as second:
        task = shop.conductor.wait_task(run)
        assert task["status"] == "COMPLETED", task
        assert (second.records("result_adopted"), bodies(second)) == ([], 2)
        until(lambda: told(second, "the body runs again"), "the reason")
        nothing_is_left(repository, second)
    assert len(repository.log()) == 1
    assert repository.files() == {**BASE, "in/a": "changed"}


@pytest.mark.parametrize("read_only", [False, True])
def test_a_published_result_that_was_not_taken_is_reported_by_the_retry(
    engine: Conductor, embedded_url: str, tmp_path: Path, read_only: bool
) -> None:
    with Proxy(engine.url) as way:
        seen = Conductor(way.url, "embedded")
        with Workshop(tmp_path, seen, embedded_url, definition=RETRIED, slots=2, read_only=read_only) as shop:
            repository = shop.repository()
            way.before = refuse_results
            run = engine.start(shop.task, {"write": {"a": "changed"}}, workspace_input(repository))
            shop.worker.wait_record("update_failed")
            published = repository.log()
            timed_out(engine, run)
            # Somebody goes on from what was published.
            theirs = repository.foreign({"in/theirs": "t"})
            shop.worker.wait_record("result_adopted")
            way.before = lambda _: None
            task = engine.wait_task(run)
            assert task["status"] == "COMPLETED", task
            assert bodies(shop.worker) == 1
            shop.assert_clean(repository)
    reference = task["outputData"]["workspace"]["ref"]
    assert reference == (repository.input if read_only else published[0]["id"])
    assert [commit["id"] for commit in repository.log()] == [theirs, *(one["id"] for one in published)]
