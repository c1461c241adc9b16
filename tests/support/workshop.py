"""A worker of a workspace task between its servers, with a scripted way to lakeFS."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .conductor import Conductor
from .faults import Script
from .lake import KEY, Lake
from .proxy import Proxy
from .waiting import until
from .worker import Worker

BASE = {
    "in/a": "one",
    "in/b": "two",
    "in/d e/ä %2": "three",
    "in2/beside": "kept",
}


@dataclass(frozen=True)
class Store:
    """A lakeFS server and the key pair for it; the embedded one unless said otherwise."""

    url: str
    key_id: str = KEY
    secret: str = KEY
    namespace: str = ""
    kind: str = "embedded"


def real_store() -> Store:
    """The server that the LAKECTL variables name."""
    names = ("SERVER_ENDPOINT_URL", "CREDENTIALS_ACCESS_KEY_ID", "CREDENTIALS_SECRET_ACCESS_KEY")
    namespace = os.environ.get("PERAGO_TEST_LAKEFS_NAMESPACE", "")
    return Store(*(os.environ[f"LAKECTL_{name}"] for name in names), namespace, "real")


class Repository(Lake):
    """A repository of a test's own with files on `main`, seen and changed behind the worker's back."""

    def __init__(self, store: Store, files: dict[str, str] | None = None) -> None:
        super().__init__(store.kind, store.url, store.key_id, store.secret, store.namespace)
        for path, content in (BASE if files is None else files).items():
            assert self.put("main", path, content).status == 201, path
        self.input = str(self.commit("main", "base").json["id"])

    def files(self, reference: str = "main@") -> dict[str, str]:
        """All objects with their contents."""
        return {path: self.get(reference, path).body.decode() for path in self.tree(reference)}

    def log(self) -> list[dict[str, Any]]:
        """The commits of `main` above the input, newest first, along first parents."""
        page = self.here("GET", "/refs/main/commits", first_parent="true").json["results"]
        above: list[dict[str, Any]] = []
        for commit in page:
            if commit["id"] == self.input:
                break
            above.append(commit)
        return above

    def foreign(self, files: dict[str, str], message: str = "theirs") -> str:
        """Commit files to `main` as another writer; return the commit's id."""
        for path, content in files.items():
            assert self.put("main", path, content).status == 201
        return str(self.commit("main", message).json["id"])

    def branches(self) -> list[str]:
        """The names of all branches."""
        return [row["id"] for row in self.here("GET", "/branches", amount=1000).json["results"]]


class Workshop:
    """A worker of one workspace task; a context manager.

    Args:
        root: The worker's folders.
        conductor: The engine.
        store: The store, or the URL of an embedded one; the worker reaches it over `proxy`.
        definition: Further fields of the TaskDef.
        is_direct: Whether the worker reaches the store without the proxy.
        slots: How many bodies a worker runs at once; a full one does not poll.
        variables: Further variables of its workers.
        specification: Its WorkspaceSpec; guardrails as `[builder, argument]`.
    """

    def __init__(
        self,
        root: Path,
        conductor: Conductor,
        store: Store | str,
        *,
        definition: dict[str, Any] | None = None,
        is_direct: bool = False,
        slots: int = 1,
        variables: dict[str, str] | None = None,
        **specification: Any,
    ) -> None:
        self.conductor = conductor
        self.store = store = Store(store) if isinstance(store, str) else store
        self.task = f"suite.{uuid.uuid4().hex[:12]}"
        self.root = root
        self._slots = slots
        self.proxy = Proxy(store.url, keeps_host=True)
        self.script = Script(self.proxy)
        conductor.define(self.task, has_workspace=True, **(definition or {}))
        self._variables = {
            "SUITE_WORKSPACE": json.dumps({"prefix": "in", **specification}),
            "LAKECTL_SERVER_ENDPOINT_URL": store.url if is_direct else self.proxy.url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": store.key_id,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": store.secret,
            "PERAGO_LAKEFS_RETRIES": "1",
            "PERAGO_LAKEFS_STALL_TIMEOUT": "1s",
            "PERAGO_FAILURE_REASON_MAX_LENGTH": "2000",
            "PERAGO_WORKSPACE_CACHE": "off",
            **(variables or {}),
        }
        self.proxy.__enter__()
        self.worker = self.another("first")

    def another(self, name: str) -> Worker:
        """Start one more worker of the task, with folders and a host of its own."""
        variables = {"PERAGO_HOST_ID": name, **self._variables}
        url, slots = self.conductor.url, str(self._slots)
        return Worker(self.root / name, url, self.task, "-j", slots, module="workspace_scenario", **variables)

    def __enter__(self) -> Workshop:
        try:
            self.worker.__enter__()
        except BaseException:
            self.proxy.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.script.clear()
        try:
            self.worker.__exit__()
        finally:
            self.proxy.__exit__()

    def repository(self, files: dict[str, str] | None = None) -> Repository:
        """Make a repository."""
        return Repository(self.store, files)

    def start(self, repository: Repository, **params: Any) -> str:
        """Start a run on the input of a repository; return its id."""
        return self.conductor.start(self.task, params, workspace_input(repository))

    def run(self, repository: Repository, **params: Any) -> dict[str, Any]:
        """Start a run and wait for its end; return the last attempt. Nothing of it is left."""
        task = self.conductor.wait_task(self.start(repository, **params))
        self.assert_clean(repository)
        return task

    def failure(self, task: dict[str, Any]) -> tuple[str, str]:
        """The status of a failed attempt and the code that the worker's log has for it."""
        record = self.worker.wait_record("task_failed", task_id=task["taskId"])
        return task["status"], record["failure_code"]

    def assert_clean(self, repository: Repository, *workers: Worker) -> None:
        """Wait until no directory of an attempt and no staging branch is left."""
        for worker in (self.worker, *workers):
            until(lambda worker=worker: not attempts(worker), f"empty workspaces of {worker.root}")  # type: ignore[misc]
        until(lambda: repository.branches() == ["main"], "the end of staging branches")


def attempts(worker: Worker) -> list[Path]:
    """The directories of attempts that are there."""
    return sorted((worker.root / "workspaces").glob("task_id=*"))


def workspace_input(
    repository: Repository, branch: str = "main", reference: str | None = None
) -> dict[str, str]:
    """The workspace of a run's input."""
    return {
        "repository": repository.name,
        "branch": branch,
        "refType": "commit",
        "ref": reference or repository.input,
    }
