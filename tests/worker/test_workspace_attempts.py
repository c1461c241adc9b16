"""Any name, any content and any misfit of a workspace, over both ways to move objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.fixtures import embedded_server
from support.conductor import Conductor
from support.faults import BRANCH, COMMIT, MERGE, READ, UPLOAD
from support.workshop import BASE, Store, Workshop, real_store, workspace_input

LARGE = "0123456789abcdef" * 20_000


@pytest.fixture(scope="module", params=["s3", "local", pytest.param("real", marks=pytest.mark.lakefs)])
def open_shop(
    request: pytest.FixtureRequest, embedded_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    """A worker over a store that signs URLs, over one where all moves through lakeFS, and over a real one."""
    engine = Conductor(f"{embedded_url}/api", "embedded")
    root = tmp_path_factory.mktemp(request.param)
    if request.param != "local":
        store = real_store() if request.param == "real" else Store(embedded_url)
        with Workshop(root, engine, store) as shop:
            yield shop
        return
    with embedded_server("--object-store", "local") as url, Workshop(root, engine, url) as shop:
        yield shop


@pytest.fixture
def shop(open_shop: Workshop) -> Workshop:
    open_shop.script.clear()
    return open_shop


def test_the_changes_of_a_body_become_one_stamped_commit(shop: Workshop) -> None:
    repository = shop.repository()
    edits = {"a": "changed", "new/large": LARGE, "d e/100% é": ""}
    task = shop.run(repository, write=edits, remove=["b"])
    assert task["status"] == "COMPLETED", task
    result = task["outputData"]["result"]
    assert result == {"files": {"a": 3, "b": 3, "d e/ä %2": 5}, "directories": ["d e"]}
    (commit,) = repository.log()
    assert task["outputData"]["workspace"] == workspace_input(repository, reference=commit["id"])
    wanted = {f"in/{name}": content for name, content in edits.items()}
    assert repository.files() == {
        **wanted,
        "in/d e/ä %2": BASE["in/d e/ä %2"],
        "in2/beside": BASE["in2/beside"],
    }
    assert commit["parents"][0] == repository.input
    stamp = commit["metadata"]
    assert stamp["perago.workflow_instance_id"] == task["workflowInstanceId"]
    assert (stamp["perago.task_id"], stamp["perago.task_name"]) == (task["taskId"], shop.task)
    assert (stamp["perago.retry_count"], stamp["perago.poll_count"]) == ("0", "1")
    assert stamp["perago.worker_id"] == task["workerId"]
    assert stamp["perago.input_ref"] == repository.input
    assert task["workflowInstanceId"] in stamp["perago.link"]
    direct = [one for one in shop.proxy.seen("PUT", "/object-store/") if len(one.body) == len(LARGE)]
    assert len(direct) == (1 if repository.signs else 0)
    read = shop.script.seen(READ)
    assert len(read) == 3
    assert all(one.path.startswith("/object-store/") == repository.signs for one in read)


def test_a_body_that_changes_nothing_publishes_nothing(shop: Workshop) -> None:
    repository = shop.repository()
    for action in ("", "hollow"):
        # The same content, and a file that never belongs to a workspace.
        task = shop.run(
            repository, action=action, write={"a": BASE["in/a"], "d e/.perago-attempt.json": "{}"}
        )
        assert task["status"] == "COMPLETED", task
        assert task["outputData"]["workspace"] == workspace_input(repository)
    assert repository.log() == []
    assert [shop.script.seen(call) for call in (BRANCH, UPLOAD, COMMIT, MERGE)] == [[], [], [], []]


def test_every_name_comes_and_goes(shop: Workshop) -> None:
    long = f"{'/'.join(['a' * 200] * 4)}/{'b' * 215}/e"
    assert len(f"in/{long}") == 1024
    names = [long, "a b", "ü/ñ", "100%/a%20b", "plus+sign", "a&b=c;d", "q?x#y", "😀", "empty"]
    base = {f"in/{name}": "" if name == "empty" else f"<{name}>" for name in names}
    repository = shop.repository({**base, "in/marked/": ""})
    edits = {name: f"<{name}> again" for name in names}
    task = shop.run(repository, write={**edits, "second/empty": ""})
    assert task["status"] == "COMPLETED", task
    result = task["outputData"]["result"]
    assert result["files"] == {name: len(base[f"in/{name}"].encode()) for name in names}
    assert "marked" in result["directories"]
    wanted = {f"in/{name}": content for name, content in edits.items()}
    assert repository.files() == {**wanted, "in/second/empty": "", "in/marked/": ""}


def test_a_body_that_deletes_everything_leaves_the_rest(shop: Workshop) -> None:
    repository = shop.repository()
    task = shop.run(repository, action="clear")
    assert task["status"] == "COMPLETED", task
    assert repository.files() == {"in2/beside": "kept"}


@pytest.mark.parametrize("action", ["link", "walk out"])
def test_a_symbolic_link_is_never_published(shop: Workshop, action: str, folder: Path) -> None:
    repository = shop.repository()
    task = shop.run(repository, action=action, folder=str(folder), write={"d e/new": "x"})
    assert shop.failure(task) == ("FAILED", "workspace_path")
    assert "symlinks" in task["reasonForIncompletion"]
    assert repository.log() == []
    assert shop.script.seen(BRANCH) == []
    if action == "walk out":
        assert (folder / "outside" / "new").exists(), "what lies behind a link is not ours to remove"


@pytest.mark.parametrize("key", ["in/../../escaped", "in/x//y", "in/a/b", "in/C:/x", "in/back\\slash"])
def test_a_key_that_is_no_file_fails_before_the_body(shop: Workshop, key: str) -> None:
    repository = shop.repository({**BASE, key: "x"})
    task = shop.run(repository, write={"never": "there"})
    assert shop.failure(task) == ("FAILED", "workspace_path")
    assert json.dumps(key if key == "in/a/b" else key.removeprefix("in/")) in task["reasonForIncompletion"]
    assert shop.script.seen(READ) == []


def test_a_failing_body_leaves_nothing(shop: Workshop) -> None:
    repository = shop.repository()
    for action, code, reason in (
        ("fail", "task_failed", "on purpose"),
        ("die", "executor_exited", "exited with status 3"),
    ):
        task = shop.run(repository, action=action)
        assert shop.failure(task) == ("FAILED", code)
        assert reason in task["reasonForIncompletion"]
    assert repository.log() == []
    assert shop.script.seen(BRANCH) == []


def test_a_dirty_branch_is_named_and_a_protected_one_takes_merges(shop: Workshop) -> None:
    repository = shop.repository()
    repository.put("main", "loose", "x")
    task = shop.run(repository, write={"a": "changed"})
    assert shop.failure(task) == ("FAILED", "branch_unusable")
    assert "main holds uncommitted changes" in task["reasonForIncompletion"]
    assert repository.log() == []

    # lakeFS lets a merge pass the protection of a branch.
    repository = shop.repository()
    rules = [{"pattern": "main"}]
    assert repository.here("PUT", "/settings/branch_protection", rules).status == 204
    assert shop.run(repository, write={"a": "changed"})["status"] == "COMPLETED"
    assert repository.files()["in/a"] == "changed"


@pytest.mark.parametrize(
    ("changed", "code", "named"),
    [
        ({"repository": "nobody-has-this"}, "workspace_failed", "not found"),
        ({"ref": "0" * 64}, "workspace_failed", "0" * 64),
        ({"branch": "gone"}, "branch_unusable", "gone"),
    ],
)
def test_what_does_not_exist_is_named(shop: Workshop, changed: dict[str, str], code: str, named: str) -> None:
    repository = shop.repository()
    given = {**workspace_input(repository), **changed}
    task = shop.conductor.wait_task(shop.conductor.start(shop.task, {"write": {"a": "changed"}}, given))
    assert shop.failure(task) == ("FAILED", code)
    assert named in task["reasonForIncompletion"]
    shop.assert_clean(repository)


def test_a_commit_that_is_not_on_the_branch_is_no_input(shop: Workshop) -> None:
    repository = shop.repository()
    assert repository.branch("beside", f"{repository.input}~1").status == 201
    given = workspace_input(repository, branch="beside")
    task = shop.conductor.wait_task(shop.conductor.start(shop.task, {"write": {"a": "changed"}}, given))
    assert shop.failure(task) == ("FAILED", "publish_fence")
    assert "the input commit is not in the history of beside" in task["reasonForIncompletion"]
    assert repository.branches() == ["beside", "main"]


def test_an_input_without_its_workspace_is_refused(shop: Workshop) -> None:
    task = shop.conductor.wait_task(shop.conductor.start(shop.task, {}))
    assert shop.failure(task) == ("FAILED", "input_invalid")
    assert "workspace" in task["reasonForIncompletion"]


@pytest.fixture
def guarded(embedded_url: str, tmp_path: Path) -> Iterator[Workshop]:
    engine = Conductor(f"{embedded_url}/api", "embedded")
    rails = {"pre": [["require_file", "a"]], "post": [["forbid_glob", "**/*.tmp"], ["require_dir", "d e"]]}
    with Workshop(tmp_path, engine, embedded_url, **rails) as shop:
        yield shop


def test_guardrails_stop_an_attempt_on_both_sides(guarded: Workshop) -> None:
    shop = guarded
    repository = shop.repository({"in/b": "x"})
    task = shop.run(repository, write={"a": "made"})
    assert shop.failure(task) == ("FAILED_WITH_TERMINAL_ERROR", "pre_guardrail")
    assert task["reasonForIncompletion"].startswith("pre guardrail require_file('a') did not find a file; ")

    repository = shop.repository()
    task = shop.run(repository, write={"deep/er/x.tmp": "", "a": "changed"})
    assert shop.failure(task) == ("FAILED", "post_guardrail")
    assert task["reasonForIncompletion"].startswith(
        "post guardrail forbid_glob('**/*.tmp') matched 1 files; "
    )
    assert repository.log() == []
    assert shop.script.seen(BRANCH) == []

    assert shop.run(repository, write={"a": "changed"})["status"] == "COMPLETED"
    assert repository.files()["in/a"] == "changed"


def test_a_read_only_task_publishes_nothing(embedded_url: str, tmp_path: Path) -> None:
    engine = Conductor(f"{embedded_url}/api", "embedded")
    with Workshop(tmp_path, engine, embedded_url, read_only=True) as shop:
        repository = shop.repository()
        repository.foreign({"in/a": "moved on"})
        task = shop.run(repository, write={"a": "changed"}, remove=["b"])
        assert task["status"] == "COMPLETED", task
        assert task["outputData"]["workspace"] == workspace_input(repository)
        assert task["outputData"]["result"]["files"]["a"] == len(BASE["in/a"])
        assert len(repository.log()) == 1
        assert [exchange.method for exchange in shop.proxy.exchanges if exchange.method != "GET"] == []
