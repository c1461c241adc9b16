from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.command import CommandLine
from support.lake import KEY, Lake

from .modules import EDITING
from .running import ORIGINAL

STORE_VARIABLES = (
    "LAKECTL_SERVER_ENDPOINT_URL",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY",
)


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """A command line in a project folder of its own."""
    return CommandLine(tmp_path)


@pytest.fixture
def folder(line: CommandLine) -> Path:
    """A directory for the module `edit`."""
    line.write("edit.py", EDITING)
    for name, text in ORIGINAL.items():
        line.write(f"files/{name}", text)
    return line.cwd / "files"


@pytest.fixture(params=["apart", "in-process"])
def where(request: pytest.FixtureRequest) -> list[str]:
    """Both places for a body."""
    return ["--in-process"] if request.param == "in-process" else []


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.lakefs)])
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables that name a lakeFS server."""
    if request.param == "real":
        return {name: os.environ[name] for name in STORE_VARIABLES}
    return dict(zip(STORE_VARIABLES, (request.getfixturevalue("embedded_url"), KEY, KEY), strict=True))


@pytest.fixture
def lake(store: dict[str, str]) -> Lake:
    """A repository on that server for the module `edit`: its files below its prefix, and another one."""
    kind = "embedded" if store[STORE_VARIABLES[1]] == KEY else "real"
    namespace = os.environ.get("PERAGO_TEST_LAKEFS_NAMESPACE", "") if kind == "real" else ""
    lake = Lake(kind, *store.values(), namespace)
    for name, text in ORIGINAL.items():
        assert lake.put("main", f"audio/{name}", text).status == 201
    assert lake.put("main", "audio2/other.txt", "other").status == 201
    assert lake.commit("main").status == 201
    return lake
