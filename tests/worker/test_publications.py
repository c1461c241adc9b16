"""Publications beside other writers, after lost replies, and by attempts that should be dead."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.conductor import Conductor
from support.faults import BRANCH, COMMIT, HISTORY, MERGE, OLDER, READ_MERGE, REVERT, Call, drop
from support.proxy import Answer, Drop, Exchange
from support.waiting import until
from support.workshop import BASE, Repository, Store, Workshop, attempts, real_store, workspace_input

EDITS = {"a": "changed", "new/file": "made"}
WANTED = {**BASE, **{f"in/{name}": content for name, content in EDITS.items()}}
THEIRS = {"in/theirs": "t"}


@pytest.fixture(scope="module")
def engine(embedded_url: str) -> Conductor:
    return Conductor(f"{embedded_url}/api", "embedded")


@pytest.fixture(scope="module", params=["embedded", pytest.param("real", marks=pytest.mark.lakefs)])
def store(request: pytest.FixtureRequest, embedded_url: str) -> Store:
    """The embedded store and a real one."""
    return real_store() if request.param == "real" else Store(embedded_url)


@pytest.fixture(scope="module")
def careful(engine: Conductor, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A worker of a task that fails when the head has moved."""
    with Workshop(tmp_path_factory.mktemp("fail"), engine, store) as shop:
        yield shop


@pytest.fixture(scope="module")
def merging(engine: Conductor, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A worker of a task that merges over a moved head."""
    with Workshop(tmp_path_factory.mktemp("merge"), engine, store, on_moved_head="merge") as shop:
        yield shop


class Writer:
    """Somebody who commits to `main` at a call of the worker."""

    def __init__(self, repository: Repository, files: dict[str, str]) -> None:
        self.repository = repository
        self.files = files
        self.commit = ""

    def __call__(self, _: Exchange) -> Answer | None:
        self.commit = self.repository.foreign(self.files, "their words")
        return None


def run_beside(
    shop: Workshop, moment: tuple[str, Call], files: dict[str, str]
) -> tuple[Repository, Writer, dict[str, Any]]:
    """Run an attempt with somebody else's commit at a moment of it; return its task."""
    shop.script.clear()
    repository = shop.repository()
    writer = Writer(repository, files)
    getattr(shop.script, moment[0])(moment[1], writer)
    return repository, writer, shop.run(repository, write=EDITS)


BEFORE_OURS = [
    ("before", OLDER),
    ("before", HISTORY),
    ("after", HISTORY),
    ("before", BRANCH),
    ("after", COMMIT),
    ("before", MERGE),
]
AFTER_OURS = [("after", MERGE), ("before", READ_MERGE), ("after", READ_MERGE)]


def identity(moment: Any) -> str:
    return f"{moment[0]} {moment[1].name}"


@pytest.mark.parametrize("moment", BEFORE_OURS, ids=identity)
def test_a_foreign_commit_is_kept_and_named(careful: Workshop, moment: tuple[str, Call]) -> None:
    repository, writer, task = run_beside(careful, moment, THEIRS)
    assert careful.failure(task) == ("FAILED", "publish_fence")
    reason = task["reasonForIncompletion"]
    for named in ("main has moved", writer.commit, "their words", "admin", "new head of main"):
        assert named in reason, reason
    assert repository.files() == {**BASE, **THEIRS}
    was_merged = careful.script.seen(REVERT) != []
    assert len(repository.log()) == (3 if was_merged else 1)
    assert ("was reverted" in reason) is was_merged
    assert was_merged is (moment not in BEFORE_OURS[:2])


@pytest.mark.parametrize("moment", AFTER_OURS, ids=identity)
def test_a_foreign_commit_above_ours_changes_nothing(careful: Workshop, moment: tuple[str, Call]) -> None:
    repository, writer, task = run_beside(careful, moment, THEIRS)
    assert task["status"] == "COMPLETED", task
    theirs, ours = repository.log()
    assert (theirs["id"], ours["id"]) == (writer.commit, task["outputData"]["workspace"]["ref"])
    assert repository.files() == {**WANTED, **THEIRS}


@pytest.mark.parametrize("moment", BEFORE_OURS + AFTER_OURS, ids=identity)
def test_disjoint_changes_merge_whenever_they_come(merging: Workshop, moment: tuple[str, Call]) -> None:
    repository, _, task = run_beside(merging, moment, THEIRS)
    assert task["status"] == "COMPLETED", task
    assert repository.files() == {**WANTED, **THEIRS}
    assert task["outputData"]["workspace"]["ref"] in {commit["id"] for commit in repository.log()}
    assert len(repository.log()) == 2


@pytest.mark.parametrize("moment", [("before", OLDER), ("before", MERGE)], ids=identity)
def test_conflicting_edits_are_named(merging: Workshop, moment: tuple[str, Call]) -> None:
    repository, _, task = run_beside(merging, moment, {"in/a": "theirs", "in/b": "theirs"})
    assert merging.failure(task) == ("FAILED", "publish_conflict")
    reason = task["reasonForIncompletion"]
    assert "in/a" in reason, reason
    assert "in/b" not in reason, reason
    assert repository.files() == {**BASE, "in/a": "theirs", "in/b": "theirs"}


def test_a_revert_that_meets_later_edits_names_both_commits(careful: Workshop) -> None:
    careful.script.clear()
    repository = careful.repository()
    before, above = Writer(repository, THEIRS), Writer(repository, {"in/a": "edited again"})
    careful.script.before(MERGE, before)
    careful.script.before(REVERT, above)
    task = careful.run(repository, write=EDITS)
    assert careful.failure(task) == ("FAILED", "publish_fence")
    reason = task["reasonForIncompletion"]
    _, ours, _ = repository.log()
    assert before.commit in reason, reason
    assert f"our commit {ours['id']} could not be reverted" in reason, reason
    assert repository.files() == {**WANTED, **THEIRS, "in/a": "edited again"}


def test_a_branch_that_is_reset_meanwhile_stays_as_it_was_put(careful: Workshop) -> None:
    careful.script.clear()
    repository = careful.repository()
    older = repository.here("GET", "/refs/main~1/commits").json["results"][0]["id"]

    def reset(_: Exchange) -> Answer | None:
        assert repository.here("PUT", "/branches/main/hard_reset", ref=older).status == 204
        return None

    careful.script.before(MERGE, reset)
    task = careful.run(repository, write=EDITS)
    assert careful.failure(task) == ("FAILED", "publish_fence")
    reason = task["reasonForIncompletion"]
    assert "the input commit is not in the history of main" in reason, reason
    assert "was reverted" in reason, reason
    assert repository.files() == {}


def test_a_merge_whose_reply_is_lost_is_one_commit(careful: Workshop) -> None:
    careful.script.clear()
    repository = careful.repository()
    careful.script.after(MERGE, drop, times=2)
    task = careful.run(repository, write=EDITS)
    assert task["status"] == "COMPLETED", task
    (commit,) = repository.log()
    assert task["outputData"]["workspace"]["ref"] == commit["id"]
    assert repository.files() == WANTED
    assert careful.script.taken(MERGE) == 2


def side_by_side(
    shop: Workshop, repository: Repository, params: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Run bodies at once on one branch, in a FORK_JOIN where the engine has it; return their tasks."""
    given = workspace_input(repository)
    if shop.conductor.kind == "embedded":
        runs = [shop.conductor.start(shop.task, one, given) for one in params]
    else:
        runs = [shop.conductor.start(f"{shop.task}.fork", {}, given, workflowDef=forked(shop.task, params))]
    together(Path(params[0]["folder"]))
    tasks = [task for run in runs for task in shop.conductor.wait(run)["tasks"]]
    shop.assert_clean(repository)
    return [task for task in tasks if task["taskDefName"] == shop.task]


def forked(task: str, params: list[dict[str, Any]]) -> dict[str, Any]:
    """A workflow with a parallel branch for each of these parameters."""
    branches = [
        {
            "name": task,
            "taskReferenceName": f"part{number}",
            "type": "SIMPLE",
            "inputParameters": {"params": one, "workspace": "${workflow.input.workspace}"},
        }
        for number, one in enumerate(params)
    ]
    names = [branch["taskReferenceName"] for branch in branches]
    fork = {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN"}
    join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": names}
    return {
        "name": f"{task}.fork",
        "version": 1,
        "schemaVersion": 2,
        "ownerEmail": "tests@example.com",
        "tasks": [{**fork, "forkTasks": [[branch] for branch in branches]}, join],
    }


def together(folder: Path) -> None:
    """Let two bodies go on once both run."""
    until(lambda: len(list(folder.glob("started-*"))) == 2, "both bodies")
    (folder / "go").touch()


def test_parallel_branches_share_a_branch(
    conductor: Conductor, embedded_url: str, tmp_path: Path, folder: Path
) -> None:
    gate = {"action": "gate", "folder": str(folder)}
    with Workshop(tmp_path, conductor, embedded_url, slots=2, on_moved_head="merge") as shop:
        repository = shop.repository()
        params = [{**gate, "write": {"x": "1"}}, {**gate, "write": {"y": "2"}}]
        done = side_by_side(shop, repository, params)
    assert [task["status"] for task in done] == ["COMPLETED", "COMPLETED"], done
    assert repository.files() == {**BASE, "in/x": "1", "in/y": "2"}
    published = {task["outputData"]["workspace"]["ref"] for task in done}
    assert published == {commit["id"] for commit in repository.log()}


def test_writers_at_once_without_merging_name_each_other(
    engine: Conductor, embedded_url: str, tmp_path: Path, folder: Path
) -> None:
    gate = {"action": "gate", "folder": str(folder)}
    with Workshop(tmp_path, engine, embedded_url, slots=2) as shop:
        repository = shop.repository()
        params = [{**gate, "write": {"x": "1"}}, {**gate, "write": {"y": "2"}}]
        outcomes = {task["status"]: task for task in side_by_side(shop, repository, params)}
        assert set(outcomes) == {"COMPLETED", "FAILED"}, outcomes
        failed, winner = outcomes["FAILED"], outcomes["COMPLETED"]
        assert shop.failure(failed) == ("FAILED", "publish_fence")
        reason = failed["reasonForIncompletion"]
        # The other task's stamp says more than lakeFS's committer does.
        for named in (winner["outputData"]["workspace"]["ref"], winner["taskId"], winner["workerId"]):
            assert named in reason, reason
        assert "on_moved_head" in reason, reason
        kept = {name for name in repository.files() if name not in BASE}
        assert kept == {"in/x" if "x" in winner["inputData"]["params"]["write"] else "in/y"}


@pytest.fixture
def retried(engine: Conductor, store: Store, tmp_path: Path) -> Iterator[Workshop]:
    """A worker of a task that is retried once, soon after its worker has fallen silent."""
    definition = {"retryCount": 1, "responseTimeoutSeconds": 3}
    with Workshop(tmp_path / "first", engine, store, definition=definition) as shop:
        yield shop


@pytest.mark.parametrize("draft", ["same", "other"])
def test_a_retry_after_a_publication_whose_result_was_lost(
    retried: Workshop, folder: Path, draft: str
) -> None:
    shop = retried
    repository = shop.repository()
    (folder / "draft").write_text("same")

    def die(_: Exchange) -> Answer | None:
        shop.worker.process.kill()
        (folder / "draft").write_text(draft)
        raise Drop

    shop.script.after(MERGE, die)
    run = shop.start(repository, action="draft", folder=str(folder))
    until(lambda: shop.worker.process.poll() is not None, "the worker's death")
    (first,) = repository.log()
    with shop.another("second") as second:
        task = shop.conductor.wait_task(run)
        assert (task["status"], task["retryCount"]) == ("COMPLETED", 1), task
        until(lambda: not attempts(second), "the end of the second attempt's directory")
    assert repository.files() == {**BASE, "in/a": draft}
    newest, *older = repository.log()
    assert task["outputData"]["workspace"]["ref"] == newest["id"]
    if draft == "same":
        assert (newest["id"], older) == (first["id"], [])
        assert len(shop.script.seen(MERGE)) == 1
    else:
        assert [commit["id"] for commit in older] == [first["id"]]
        assert newest["parents"][0] == first["id"]
    # What the dead worker has left is found by its marks: its branch by the retry.
    until(lambda: repository.branches() == ["main"], "the end of both staging branches")


def test_a_zombies_late_merge_is_refused(retried: Workshop, folder: Path) -> None:
    shop = retried
    repository = shop.repository()
    (folder / "draft").write_text("zombie")
    held, released = threading.Event(), threading.Event()

    def hold(_: Exchange) -> Answer | None:
        os.kill(shop.worker.process.pid, signal.SIGSTOP)
        (folder / "draft").write_text("newer")
        held.set()
        assert released.wait(60)
        return None

    shop.script.before(MERGE, hold)
    run = shop.start(repository, action="draft", folder=str(folder))
    assert held.wait(30)
    try:
        with shop.another("second") as second:
            task = shop.conductor.wait_task(run)
            assert (task["status"], task["retryCount"]) == ("COMPLETED", 1), task
            released.set()
            until(lambda: len(shop.script.seen(MERGE)) == 2, "the late merge")
            os.kill(shop.worker.process.pid, signal.SIGCONT)
            shop.assert_clean(repository, second)
    finally:
        released.set()
        os.kill(shop.worker.process.pid, signal.SIGCONT)
    assert [merge.status for merge in shop.script.seen(MERGE)] == [200, 404]
    assert repository.files() == {**BASE, "in/a": "newer"}
    (commit,) = repository.log()
    assert commit["metadata"]["perago.retry_count"] == "1"
    assert shop.conductor.last_task(run)["status"] == "COMPLETED"
    assert len(shop.conductor.workflow(run)["tasks"]) == 2


def test_two_attempts_at_once_publish_once(retried: Workshop, folder: Path) -> None:
    shop = retried
    repository = shop.repository()
    run = shop.start(repository, action="gate", folder=str(folder), write={"a": "changed"})
    until(lambda: list(folder.glob("started-*")), "the first body")
    os.kill(shop.worker.process.pid, signal.SIGSTOP)
    try:
        with shop.another("second") as second:
            together(folder)
            task = shop.conductor.wait_task(run)
            assert (task["status"], task["retryCount"]) == ("COMPLETED", 1), task
            os.kill(shop.worker.process.pid, signal.SIGCONT)
            shop.assert_clean(repository, second)
    finally:
        os.kill(shop.worker.process.pid, signal.SIGCONT)
    (commit,) = repository.log()
    assert commit["metadata"]["perago.retry_count"] == "1"
    assert repository.files() == {**BASE, "in/a": "changed"}
    assert shop.conductor.last_task(run)["status"] == "COMPLETED"


def test_a_worker_whose_time_is_up_leaves_nothing(
    engine: Conductor, embedded_url: str, tmp_path: Path
) -> None:
    limit = {"PERAGO_SHUTDOWN_FORCE_KILL_AFTER": "1s"}
    with Workshop(tmp_path, engine, embedded_url, variables=limit) as shop:
        repository = shop.repository()
        held, released = threading.Event(), threading.Event()

        def hold(_: Exchange) -> Answer | None:
            held.set()
            assert released.wait(60)
            return None

        shop.script.before(MERGE, hold)
        run = shop.start(repository, write=EDITS)
        assert held.wait(30)
        try:
            shop.worker.signal()
            assert shop.worker.wait() == 4
            assert attempts(shop.worker) == []
            assert repository.branches() == ["main"]
            released.set()
            until(lambda: shop.script.seen(MERGE), "the late merge")
        finally:
            released.set()
        assert [merge.status for merge in shop.script.seen(MERGE)] == [404]
        assert repository.log() == []
        # The task was given back, and its retry is not burnt.
        with shop.another("second") as second:
            task = shop.conductor.wait_task(run)
            assert (task["status"], task["retryCount"]) == ("COMPLETED", 0), task
            shop.assert_clean(repository, second)
        assert repository.files() == WANTED
