"""A workspace task whose body changes files as its parameters say; its workspace is given by the test."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, forbid_glob, task


class Params(BaseModel):
    write: dict[str, str] = {}
    delete: list[str] = []
    fail: bool = False
    folder: Path | None = None


class Result(BaseModel):
    saw: list[str]
    place: str


@task(
    name=os.environ["SUITE_TASK"],
    owner_email="tests@example.com",
    workspace=WorkspaceSpec(
        **json.loads(os.environ.get("SUITE_WORKSPACE", "{}")),
        pre=[forbid_glob("forbidden-before*")],
        post=[forbid_glob("forbidden-after*")],
    ),
)
def run(workspace: Path, params: Params) -> Result:
    saw = sorted(str(path.relative_to(workspace)) for path in workspace.rglob("*") if path.is_file())
    for name, text in params.write.items():
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in params.delete:
        path = workspace / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if params.folder is not None:
        (params.folder / "started").write_text(str(os.getpid()))
        while not (params.folder / "go").exists():
            time.sleep(0.01)
    if params.fail:
        raise RuntimeError("told to fail")
    return Result(saw=saw, place=str(workspace))
