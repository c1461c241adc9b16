"""A workspace task that adds a file of a given size, or nothing, and fails first where it is told to."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from perago import TaskFailed, WorkspaceSpec, task

BLOCK_BYTES = 1024 * 1024


class Params(BaseModel):
    added_bytes: int = 0
    fails_until: Path | None = None


class Result(BaseModel):
    files: int


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com", workspace=WorkspaceSpec(prefix="in"))
def filling(workspace: Path, params: Params) -> Result:
    files = sum(1 for found in workspace.rglob("*") if found.is_file())
    if params.fails_until is not None and not params.fails_until.exists():
        params.fails_until.touch()
        raise TaskFailed("as told")
    left = params.added_bytes
    if left:
        with (workspace / "added").open("wb") as file:
            while left:
                left -= file.write(b"x" * min(left, BLOCK_BYTES))
    return Result(files=files)
