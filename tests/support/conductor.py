"""A Conductor server, embedded or real, as tests use it."""

from __future__ import annotations

from typing import Any

from perago._kit import conductor
from perago._kit.conductor import FINAL, step_of

__all__ = ["FINAL", "Conductor"]


class Conductor(conductor.Conductor):
    """Calls below one API base such as `http://127.0.0.1:8080/api`; `kind` is `embedded` or `real`."""

    def __init__(self, url: str, kind: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(url, headers)
        self.kind = kind

    def define(self, name: str, *, has_workspace: bool = False, **definition: Any) -> None:
        """Register a task, and a workflow of the same name with one step `body` that gets the whole input."""
        self.define_task(name, **definition)
        self.define_workflow(name, [step_of(name, has_workspace=has_workspace)])

    def define_task(self, name: str, **definition: Any) -> None:
        """Register a task."""
        task = {
            "name": name,
            "retryCount": 0,
            "retryDelaySeconds": 0,
            "responseTimeoutSeconds": 600,
            **definition,
        }
        self.call("POST", "/metadata/taskdefs", [task])
