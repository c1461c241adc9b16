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

SUMMARY = """\
workspace_root: <folder>/workspaces
log_root: <folder>/logs
worker_id_prefix: {module}
conductor: not configured
lakefs: not configured
metrics: not configured
"""
