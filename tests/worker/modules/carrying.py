"""A workspace task that writes what it is told; a test chooses its MetricSpec and its WorkspaceSpec."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, TaskFailed, WorkspaceSpec, task


class Params(BaseModel):
    added: dict[str, int] = {}
    removed: list[str] = []
    fails: bool = False


class Result(BaseModel):
    files: int


@task(
    name=os.environ["SUITE_TASK"],
    owner_email="tests@example.com",
    workspace=WorkspaceSpec(prefix="in", **json.loads(os.environ.get("SUITE_WORKSPACE", "{}"))),
    metrics=MetricSpec(**json.loads(os.environ.get("SUITE_SWITCHES", "{}"))),
)
def carrying(workspace: Path, params: Params, metrics: MetricRecorder) -> Result:
    files = [path for path in workspace.rglob("*") if path.is_file()]
    metrics.histogram("items", len(files))
    for name, size in params.added.items():
        (workspace / name).write_bytes(b"x" * size)
    for name in params.removed:
        (workspace / name).unlink()
    if params.fails:
        raise TaskFailed("as told")
    return Result(files=len(files))
