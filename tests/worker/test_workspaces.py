"""Workspace tasks: a pinned commit in, one commit out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.conductor import Conductor
from support.lake import KEY, Lake
from support.waiting import until
from support.worker import Worker


@pytest.fixture
def lake(embedded_url: str) -> Lake:
    """The embedded store with three files in one commit."""
    lake = Lake("embedded", embedded_url, KEY, KEY)
    for name in ("in/a.txt", "in/deep/b c.txt", "outside.txt"):
        assert lake.put("main", name, f"first {name}").status == 201
    assert lake.commit("main", "three files").status == 201
    return lake


def pinned(lake: Lake, commit: str | None = None) -> dict[str, str]:
    return {
        "repository": lake.name,
        "branch": "main",
        "refType": "commit",
        "ref": commit or lake.head(),
    }


def lake_variables(lake: Lake) -> dict[str, str]:
    return {
        "LAKECTL_SERVER_ENDPOINT_URL": lake.base,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": KEY,
    }


class Suite:
    """A worker of the editing task with its two servers."""

    def __init__(self, conductor: Conductor, lake: Lake, worker: Worker, task: str) -> None:
        self.conductor, self.lake, self.worker, self.task = conductor, lake, worker, task

    def run(self, commit: str | None = None, **params: Any) -> dict[str, Any]:
        """Run one workflow; return the last attempt."""
        run = self.conductor.start(self.task, params, pinned(self.lake, commit))
        return self.conductor.wait_task(run)

    def failure(self, task: dict[str, Any]) -> str:
        """The code of a failed attempt."""
        return str(self.worker.wait_record("task_failed", task_id=task["taskId"])["failure_code"])

    def leftovers(self) -> list[str]:
        """What attempts have left on the disk and in the store."""
        root = self.worker.root / "workspaces"
        places = [path.name for path in root.iterdir() if not path.name.startswith(".")]
        branches = [row["id"] for row in self.lake.here("GET", "/branches").json["results"]]
        return places + [name for name in branches if name != "main"]

    def nothing_left(self) -> None:
        until(lambda: not self.leftovers(), "an empty workspace root and no staging branch")


@pytest.fixture
def suite(
    request: pytest.FixtureRequest, conductor: Conductor, lake: Lake, task_name: str, tmp_path: Path
) -> Iterator[Suite]:
    spec = json.dumps({"prefix": "in", **getattr(request, "param", {})})
    # With a short lease the end of a task is noticed soon.
    conductor.define(task_name, has_workspace=True, retryCount=2, responseTimeoutSeconds=9)
    variables = {**lake_variables(lake), "SUITE_WORKSPACE": spec}
    with Worker(tmp_path, conductor.url, task_name, module="editing", **variables) as worker:
        suite = Suite(conductor, lake, worker, task_name)
        yield suite
        suite.nothing_left()


def test_changes_become_one_commit_that_the_result_names(suite: Suite) -> None:
    before = suite.lake.head()
    task = suite.run(write={"a.txt": "second", "new/é %.txt": "new"}, delete=["deep"])
    assert task["status"] == "COMPLETED", task
    after = suite.lake.head()
    assert task["outputData"]["workspace"] == pinned(suite.lake, after)
    assert task["outputData"]["result"]["saw"] == ["a.txt", "deep/b c.txt"]
    assert sorted(suite.lake.tree()) == ["in/a.txt", "in/new/é %.txt", "outside.txt"]
    assert suite.lake.get("main", "in/a.txt").body == b"second"
    commit = suite.lake.here("GET", f"/commits/{after}").json
    assert commit["parents"][0] == before
    metadata = commit["metadata"]
    assert metadata["perago.task_name"] == suite.task
    assert metadata["perago.workflow_instance_id"] == task["workflowInstanceId"]
    assert metadata["perago.link"].endswith(f"/workflow/{task['workflowInstanceId']}")
    assert not Path(task["outputData"]["result"]["place"]).exists()


def test_no_change_makes_no_commit(suite: Suite) -> None:
    before = suite.lake.head()
    task = suite.run()
    assert task["outputData"]["workspace"]["ref"] == before == suite.lake.head()
    assert [record["operation"] for record in suite.worker.records("workspace_moved")] == [
        "download",
        "publish",
    ]


@pytest.mark.parametrize("suite", [{"read_only": True}], indirect=True)
def test_a_read_only_task_publishes_nothing(suite: Suite) -> None:
    before = suite.lake.head()
    task = suite.run(write={"a.txt": "second"})
    assert task["status"] == "COMPLETED"
    assert task["outputData"]["workspace"]["ref"] == before == suite.lake.head()
    assert [record["operation"] for record in suite.worker.records("workspace_moved")] == ["download"]


def test_a_failing_body_publishes_nothing(suite: Suite) -> None:
    before = suite.lake.head()
    task = suite.run(write={"a.txt": "second"}, fail=True)
    assert (task["status"], task["retryCount"]) == ("FAILED", 2)
    assert suite.lake.head() == before


def test_guardrails_before_and_after_the_body(suite: Suite) -> None:
    before = suite.lake.head()
    task = suite.run(write={"forbidden-after.txt": ""})
    assert suite.failure(task) == "post_guardrail"
    assert "forbidden-after" in task["reasonForIncompletion"]
    assert suite.lake.head() == before
    suite.lake.put("main", "in/forbidden-before.txt", "x")
    suite.lake.commit("main")
    task = suite.run()
    assert suite.failure(task) == "pre_guardrail"
    assert "forbidden-before" in task["reasonForIncompletion"]


def test_a_moved_head_is_named_and_nothing_is_lost(suite: Suite) -> None:
    pinned_commit = suite.lake.head()
    suite.lake.put("main", "in/other.txt", "somebody else")
    suite.lake.commit("main", "somebody else's work")
    moved = suite.lake.head()
    task = suite.run(pinned_commit, write={"a.txt": "second"})
    assert task["status"] == "FAILED"
    assert suite.failure(task) == "publish_fence"
    assert moved in task["reasonForIncompletion"]
    assert suite.lake.head() == moved


@pytest.mark.parametrize("suite", [{"on_moved_head": "merge"}], indirect=True)
def test_disjoint_changes_are_merged_over_a_moved_head(suite: Suite) -> None:
    pinned_commit = suite.lake.head()
    suite.lake.put("main", "in/other.txt", "somebody else")
    suite.lake.commit("main", "somebody else's work")
    task = suite.run(pinned_commit, write={"a.txt": "second"})
    assert task["status"] == "COMPLETED", task
    assert suite.lake.get("main", "in/other.txt").body == b"somebody else"
    assert suite.lake.get("main", "in/a.txt").body == b"second"


def test_a_cancelled_body_publishes_nothing_and_leaves_nothing(suite: Suite, tmp_path: Path) -> None:
    before = suite.lake.head()
    params = {"write": {"a.txt": "second"}, "folder": str(tmp_path)}
    run = suite.conductor.start(suite.task, params, pinned(suite.lake))
    until(lambda: (tmp_path / "started").exists(), "the body's start")
    assert len(suite.leftovers()) == 1
    suite.conductor.terminate(run)
    assert suite.worker.wait_record("body_stopped")["killed"] is False
    suite.nothing_left()
    assert suite.lake.head() == before
    assert suite.worker.records("workspace_staged") == []
