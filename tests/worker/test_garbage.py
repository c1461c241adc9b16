"""What dead attempts leave is removed, by command and by the worker's timer, and nothing that may live."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.command import CommandLine, Ran
from support.conductor import Conductor
from support.lake import KEY, Lake
from support.proxy import Answer, Drop, Exchange, Proxy
from support.waiting import until
from support.worker import Worker

from .test_workspaces import lake_variables, pinned

MARKER = ".perago-attempt.json"
UNKNOWN = Answer(404, b'{"status": 404, "message": "no such thing", "instance": "c", "retryable": false}')
OLD_VERSION = "perago-staging-w-body-seq-1-iteration-0-task-id-t-retry-0-exec-" + "0" * 32


class Scene:
    """Two servers behind proxies, and workers of a task on one root whose attempts can be killed."""

    def __init__(self, conductor: Proxy, server: Conductor, lake: Lake, store: Proxy, task: str, root: Path):
        self.conductor, self.server, self.lake, self.store = conductor, server, lake, store
        self.task, self.root = task, root
        self.variables = {
            **lake_variables(lake),
            "LAKECTL_SERVER_ENDPOINT_URL": store.url,
            "CONDUCTOR_SERVER_URL": conductor.url,
        }
        self.line = CommandLine(root)

    def worker(self, **variables: str) -> Worker:
        """A worker of the editing task on the scene's root."""
        given = {**self.variables, "SUITE_WORKSPACE": '{"prefix": "in"}', **variables}
        return Worker(self.root, given.pop("CONDUCTOR_SERVER_URL"), self.task, module="editing", **given)

    def start(self, **params: Any) -> str:
        """Start a run."""
        return self.server.start(self.task, params, pinned(self.lake))

    def kill_at_merge(self) -> str:
        """Kill a worker between its staged commit and its merge; return the run."""
        merging, released = threading.Event(), threading.Event()

        def hold(request: Exchange) -> None:
            if "/merge/" in request.path:
                merging.set()
                assert released.wait(60)
                raise Drop

        self.store.before = hold
        try:
            with self.worker() as worker:
                run = self.start(write={"a.txt": "second"})
                assert merging.wait(60), worker.records()
                worker.signal(signal.SIGKILL)
                assert worker.wait() == -signal.SIGKILL
                until(lambda: not worker.processes(), "the end of all processes")
        finally:
            released.set()
            self.store.before = lambda _: None
        self.age()
        return run

    def directories(self) -> list[Path]:
        """The directories of attempts."""
        return sorted((self.root / "workspaces").glob("task_id=*"))

    def branches(self) -> set[str]:
        """The branches beside `main`."""
        return {row["id"] for row in self.lake.here("GET", "/branches").json["results"]} - {"main"}

    def age(self) -> None:
        """Wait until what is there now is older than a second."""
        now = time.time()
        until(lambda: time.time() >= now + 2, "two seconds")

    def gc(self, *arguments: str, **variables: str) -> Ran:
        """Run `perago gc`."""
        return self.line.run("gc", *arguments, **{**self.variables, **variables})

    def found(self, *arguments: str, code: int = 0, **variables: str) -> dict[str, str]:
        """Run `perago gc --json`; return the fate of each thing, or why it was kept, by its name."""
        ran = self.gc("--json", *arguments, **variables)
        assert ran.code == code, ran
        report = json.loads(ran.stdout)
        found = {Path(one["name"]).name: one.get("reason") or one["fate"] for one in report["leftovers"]}
        totals = report["totals"]
        assert sum(totals.values()) == len(report["leftovers"])
        assert totals["removed"] == list(found.values()).count("removed")
        return found


@pytest.fixture
def scene(
    conductor: Conductor, proxy: Proxy, embedded_url: str, task_name: str, tmp_path: Path
) -> Iterator[Scene]:
    lake = Lake("embedded", embedded_url, KEY, KEY)
    lake.put("main", "in/a.txt", "first")
    assert lake.commit("main").status == 201
    conductor.define(task_name, has_workspace=True)
    with Proxy(lake.base) as store:
        yield Scene(proxy, conductor, lake, store, task_name, tmp_path)


def test_only_what_conductor_calls_dead_is_removed(scene: Scene) -> None:
    run = scene.kill_at_merge()
    [directory], [branch] = scene.directories(), scene.branches()
    for name in (OLD_VERSION, "perago-staging-of-somebody"):
        assert scene.lake.branch(name).status == 201
    others = {OLD_VERSION: "not_ours", "perago-staging-of-somebody": "not_ours"}

    assert scene.found() == {directory.name: "young", branch: "young", **others}, "the default is a day"
    before = {directory.name: "removed", branch: "alive", **others}
    assert scene.found("--dry-run", "--older-than", "1s") == before
    scene.server.terminate(run)
    dry = scene.gc("--dry-run", "--older-than", "1s")
    assert dry.code == 0
    assert f"would remove branch {branch} of {scene.lake.name}" in dry.stdout
    assert f"would remove directory <folder>/workspaces/{directory.name}" in dry.stdout
    assert f"kept branch {OLD_VERSION} of {scene.lake.name}, because it was not named by this" in dry.stdout
    assert dry.stdout.endswith("would remove 2, kept 2, failed 0\n")
    assert scene.directories() == [directory]
    assert branch in scene.branches()

    assert scene.found("--older-than", "1s") == {directory.name: "removed", branch: "removed", **others}
    assert (scene.directories(), scene.branches()) == ([], set(others))
    assert scene.found("--older-than", "1s") == others


def test_another_conductor_s_is_left_alone(scene: Scene) -> None:
    scene.server.terminate(scene.kill_at_merge())
    [directory], [branch] = scene.directories(), scene.branches()
    # What another machine may hold: its lock cannot be seen here.
    marker = json.loads((directory / MARKER).read_text())
    (directory / MARKER).write_text(json.dumps({**marker, "lock_scope": "another-boot 1"}))
    other = {"CONDUCTOR_SERVER_URL": scene.server.url}
    left = {directory.name: "other_conductor", branch: "other_conductor"}
    assert scene.found("--older-than", "1s", **other) == left
    assert scene.found("--older-than", "1s") == dict.fromkeys(left, "removed")


def test_a_conductor_that_does_not_answer_or_know_kills_nothing(scene: Scene) -> None:
    run = scene.kill_at_merge()
    scene.server.terminate(run)
    [directory], [branch] = scene.directories(), scene.branches()
    scene.conductor.cut()
    silent = scene.gc("--older-than", "1s", "--dry-run")
    assert silent.code == 1
    assert f"kept branch {branch} of {scene.lake.name}" in silent.stdout
    assert "because Conductor gave no answer: " in silent.stdout
    assert "error: failed to read a task on " in silent.stderr
    assert f"would remove directory <folder>/workspaces/{directory.name}" in silent.stdout
    scene.conductor.restore()

    scene.conductor.before = lambda _: UNKNOWN
    unknown = scene.gc("--older-than", "1s")
    assert unknown.code == 0
    assert f"kept branch {branch} of {scene.lake.name}" in unknown.stdout
    assert "because Conductor does not know its attempt" in unknown.stdout
    assert "remove it by hand" in unknown.stderr
    assert (scene.directories(), scene.branches()) == ([], {branch})

    # Archived: the task is gone, its run is still known, and has ended.
    scene.conductor.before = lambda request: UNKNOWN if "/tasks/" in request.path else None
    assert scene.found("--older-than", "1s") == {branch: "removed"}
    assert scene.branches() == set()


def test_a_store_that_does_not_answer_is_said(scene: Scene) -> None:
    scene.server.terminate(scene.kill_at_merge())
    [branch] = scene.branches()
    scene.store.before = lambda request: Answer(401, b'{"message": "no"}')
    refused = scene.gc("--older-than", "1s")
    assert refused.code == 1
    assert f"error: repository {scene.lake.name}: " in refused.stderr
    assert refused.stdout.endswith("removed 1, kept 0, failed 0\n")
    scene.store.before = lambda _: None
    missing = scene.gc("--older-than", "1s", "--repository", "no-such-repository")
    assert missing.code == 1
    assert "no-such-repository" in missing.stderr
    assert scene.branches() == {branch}
    named = ("--repository", scene.lake.name, "--older-than", "1s")
    assert scene.found(*named, LAKECTL_SERVER_ENDPOINT_URL=scene.lake.base) == {branch: "removed"}


def test_a_running_attempt_s_directory_is_kept(scene: Scene, folder: Path) -> None:
    with scene.worker(PERAGO_WORKSPACE_GC_TTL="1s", PERAGO_WORKSPACE_GC_INTERVAL="1s") as worker:
        run = scene.start(folder=str(folder))
        until(lambda: (folder / "started").exists(), "the body's start")
        scene.age()
        [running] = scene.directories()
        # Even when its Conductor calls the attempt dead: here it still runs.
        assert scene.found("--older-than", "1s") == {running.name: "running"}
        marker = json.loads((running / MARKER).read_text())
        dead = running.with_name(f"task_id=dead-exec={'0' * 32}")
        dead.mkdir()
        (dead / "files").mkdir()
        changed = {"task_id": "dead", "execution_id": "0" * 32, "started_at": 0}
        (dead / MARKER).write_text(json.dumps({**marker, **changed}))
        # The timer has looked once this is gone.
        worker.wait_record("garbage_removed", path=str(dead))
        assert scene.directories() == [running]
        (folder / "go").touch()
        assert scene.server.wait_task(run)["status"] == "COMPLETED"
        until(lambda: not scene.directories(), "the end of the directory")


def test_the_timer_removes_what_a_killed_worker_left(scene: Scene) -> None:
    run = scene.kill_at_merge()
    [directory], [branch] = scene.directories(), scene.branches()
    unread = directory.with_name("task_id=unread-exec=0")
    unread.mkdir()
    # A successor that polls would repeat the task, and remove the branch itself.
    paused = {"CONDUCTOR_WORKER_ALL_PAUSED": "true"}
    with scene.worker(PERAGO_WORKSPACE_GC_TTL="1s", PERAGO_WORKSPACE_GC_INTERVAL="1s", **paused) as worker:
        worker.wait_record("garbage_removed", path=str(directory))
        assert scene.branches() == {branch}, "its task has not ended"
        scene.store.before = lambda _: Answer(401, b'{"message": "no"}')
        assert scene.lake.name in worker.wait_record("garbage_failed")["error"]
        scene.store.before = lambda _: None
        scene.server.terminate(run)
        removed = worker.wait_record("garbage_removed", staging_branch=branch)
        assert removed["repository"] == scene.lake.name
        assert removed["workflow_instance_id"] == run
        assert scene.branches() == set()
        assert worker.stop() == 0
        kept = worker.records("garbage_kept")
        assert [(record["path"], record["reason"]) for record in kept] == [(str(unread), "marker_unreadable")]
    assert scene.directories() == [unread]


def test_a_search_that_hangs_delays_neither_tasks_nor_the_end(scene: Scene) -> None:
    searching, released = threading.Event(), threading.Event()

    def hold(request: Exchange) -> None:
        if request.path.endswith("/branches") or "prefix=perago-staging-&" in f"{request.path}&":
            searching.set()
            assert released.wait(60)
            raise Drop

    try:
        with scene.worker(PERAGO_WORKSPACE_GC_INTERVAL="1s") as worker:
            assert scene.server.wait_task(scene.start())["status"] == "COMPLETED"
            scene.store.before = hold
            assert searching.wait(30), "no search"
            assert scene.server.wait_task(scene.start())["status"] == "COMPLETED"
            assert worker.stop(10) == 0
    finally:
        released.set()


def test_a_worker_removes_at_once_what_its_predecessor_left(scene: Scene) -> None:
    scene.kill_at_merge()
    [directory], branches = scene.directories(), scene.branches()
    with scene.worker(CONDUCTOR_WORKER_ALL_PAUSED="true") as worker:
        worker.wait_record("garbage_removed", path=str(directory))
    assert scene.directories() == []
    assert scene.branches() == branches, "a day has not passed"
