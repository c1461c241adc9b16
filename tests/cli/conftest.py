from __future__ import annotations

from pathlib import Path

import pytest

from support.command import CommandLine
from support.lake import KEY, Lake

from .modules import EDITING
from .running import ORIGINAL


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


@pytest.fixture
def lake(embedded_url: str) -> Lake:
    """A repository for the module `edit`, with the same files below its prefix."""
    lake = Lake("embedded", embedded_url, KEY, KEY)
    for name, text in ORIGINAL.items():
        assert lake.put("main", f"audio/{name}", text).status == 201
    assert lake.put("main", "audio2/other.txt", "other").status == 201
    assert lake.commit("main").status == 201
    return lake


@pytest.fixture
def store(embedded_url: str) -> dict[str, str]:
    """The variables that name its server."""
    return {
        "LAKECTL_SERVER_ENDPOINT_URL": embedded_url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": KEY,
    }
