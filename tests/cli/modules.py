"""Modules that tests check."""

from __future__ import annotations

GOOD = """\
from pydantic import BaseModel

from perago import task


class Params(BaseModel):
    n: int


class Result(BaseModel):
    n: int


@task(name="demo.good", owner_email="a@example.com")
def good(params: Params) -> Result:
    return Result(n=params.n)
"""

SEVERAL = """\
from pydantic import BaseModel

from perago import RetryPolicy, TaskControls, require_file, task


class Params(BaseModel):
    n: int


guard = require_file("/absolute")


@task(name=" ", owner_email="", controls=TaskControls(retry=RetryPolicy(count=99)))
def several(params: Params, *rest: int) -> Params:
    return params
"""

TWO = (
    GOOD
    + """

@task(name="demo.two", owner_email="a@example.com")
def two(params: Params) -> Result:
    return Result(n=params.n)
"""
)

WORKSPACE = """\
from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, task


class Params(BaseModel):
    n: int


@task(name="demo.files", owner_email="a@example.com", workspace=WorkspaceSpec())
def files(workspace: Path, params: Params) -> Params:
    return params
"""

EDITING = """\
from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, WorkspaceSpec, forbid_glob, require_file, task


class Params(BaseModel):
    scratch: bool = False
    fail: bool = False


class Result(BaseModel):
    files: int


@task(
    name="demo.edit",
    owner_email="a@example.com",
    workspace=WorkspaceSpec(
        prefix="audio", pre=[require_file("kept.txt")], post=[forbid_glob("scratch/*")]
    ),
    metrics=MetricSpec(),
)
def edit(workspace: Path, params: Params, metrics: MetricRecorder) -> Result:
    (workspace / "new").mkdir()
    (workspace / "new/file.txt").write_text("12345")
    (workspace / "changed.txt").write_text("other")
    (workspace / "same.txt").write_text("same")
    (workspace / "removed.txt").unlink()
    metrics.histogram("edits", 3, labels={"kind": "text"})
    metrics.histogram("edits", 1.5, labels={"kind": "text"})
    metrics.gauge("depth", 2)
    if params.fail:
        raise LookupError("no such song")
    if params.scratch:
        (workspace / "scratch").mkdir()
        (workspace / "scratch/left").write_text("x")
    print("edited")
    return Result(files=len([path for path in workspace.rglob("*") if path.is_file()]))
"""

SUMMARY = """\
workspace_root: <folder>/workspaces
log_root: <folder>/logs
worker_id_prefix: {module}
conductor: not configured
lakefs: not configured
metrics: not configured
"""
