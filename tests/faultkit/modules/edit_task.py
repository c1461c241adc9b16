"""A workspace task that changes one file of its workspace, makes one and removes one."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, task


class Params(BaseModel):
    text: str
    made: str = "made"


class Result(BaseModel):
    seen: list[str]


@task(name="faultkit.edit", owner_email="tests@example.com", workspace=WorkspaceSpec(prefix="in"))
def edit(workspace: Path, params: Params) -> Result:
    seen = sorted(path.name for path in workspace.iterdir())
    (workspace / "a").write_text(params.text)
    (workspace / "new").write_text(params.made)
    (workspace / "old").unlink()
    return Result(seen=seen)
