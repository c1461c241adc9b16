"""The workspace task that benchmarks run: its body adds one file, or nothing."""

from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, task

BLOCK_BYTES = 1024 * 1024


class AddParams(BaseModel):
    added_bytes: int = 0


class AddResult(BaseModel):
    added_bytes: int


@task(name="bench.workspace", owner_email="bench@example.com", workspace=WorkspaceSpec(prefix="in"))
def add(workspace: Path, params: AddParams) -> AddResult:
    left = params.added_bytes
    if left:
        with (workspace / "added").open("wb") as file:
            while left:
                left -= file.write(b"x" * min(left, BLOCK_BYTES))
    return AddResult(added_bytes=params.added_bytes)
