"""A repository of the embedded store, and runs of a workspace task on it."""

from __future__ import annotations

from typing import Any

from .conductor import Conductor
from .lake import KEY, Lake


class Workspaces:
    """A repository with some files in one commit on its branch `main`.

    Args:
        url: Base URL of the store.
        files: The files by path.
    """

    def __init__(self, url: str, files: dict[str, bytes]) -> None:
        self.lake = Lake("embedded", url, KEY, KEY)
        for path, content in files.items():
            assert self.lake.put("main", path, content).status == 201
        self.commit = str(self.lake.commit("main").json["id"])
        self.variables = {
            "LAKECTL_SERVER_ENDPOINT_URL": url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": KEY,
        }

    @staticmethod
    def define(conductor: Conductor, task: str, **definition: Any) -> None:
        """Register a workspace task and its workflow."""
        conductor.define(task, has_workspace=True, **definition)

    def run(self, conductor: Conductor, task: str, *, ref: str = "", **params: Any) -> dict[str, Any]:
        """Run a task on a commit, by default the head of `main`; return its last attempt."""
        workspace = {
            "repository": self.lake.name,
            "branch": "main",
            "refType": "commit",
            "ref": ref or self.lake.head(),
        }
        return conductor.wait_task(conductor.start(task, params, workspace))
