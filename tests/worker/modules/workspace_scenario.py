"""A workspace task whose body does to its directory what its parameters say.

The test gives its name and, in SUITE_WORKSPACE, its WorkspaceSpec as JSON, with guardrails as
`[builder, argument]`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import perago
from perago import TaskFailed, WorkspaceSpec, task


class Params(BaseModel):
    action: str = ""
    write: dict[str, str] = {}
    remove: list[str] = []
    folder: Path = Path()


class Result(BaseModel):
    files: dict[str, int]
    directories: list[str]


def specification() -> WorkspaceSpec:
    given: dict[str, Any] = json.loads(os.environ["SUITE_WORKSPACE"])
    for phase in ("pre", "post"):
        given[phase] = [getattr(perago, builder)(path) for builder, path in given.get(phase, [])]
    return WorkspaceSpec(**given)


def gate(folder: Path) -> None:
    """Say that the body runs, and wait until the test lets it go on."""
    (folder / f"started-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)


def seen(workspace: Path) -> Result:
    below = sorted(workspace.rglob("*"))
    files = {str(path.relative_to(workspace)): path.stat().st_size for path in below if path.is_file()}
    directories = [str(path.relative_to(workspace)) for path in below if path.is_dir()]
    return Result(files=files, directories=directories)


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com", workspace=specification())
def scenario(workspace: Path, params: Params) -> Result:
    found = seen(workspace)
    match params.action:
        case "gate":
            gate(params.folder)
        case "draft":
            (workspace / "a").write_text((params.folder / "draft").read_text())
        case "clear":
            for path in workspace.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        case "link":
            (workspace / "link").symlink_to("/etc/hostname")
        case "walk out":
            outside = params.folder / "outside"
            outside.mkdir()
            shutil.rmtree(workspace / "d e")
            (workspace / "d e").symlink_to(outside)
        case "hollow":
            (workspace / "hollow" / "deeper").mkdir(parents=True)
        case "die":
            (workspace / "half").write_text("done")
            os._exit(3)
        case "fail":
            (workspace / "half").write_text("done")
            raise TaskFailed("on purpose")
    for name, content in params.write.items():
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for name in params.remove:
        (workspace / name).unlink()
    return found
