"""The help of the commands that operators use, as it was last agreed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command import CommandLine

SNAPSHOTS = Path(__file__).parent / "help"


@pytest.mark.parametrize("command", ["start", "pause", "resume", "status"])
def test_help_is_what_was_agreed_on(line: CommandLine, command: str) -> None:
    ran = line.run(command, "--help")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout == (SNAPSHOTS / f"{command}.txt").read_text(encoding="utf-8")
