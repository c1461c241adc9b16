from __future__ import annotations

from pathlib import Path

import pytest

from support.command import CommandLine


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """A command line in a project folder of its own."""
    return CommandLine(tmp_path)
