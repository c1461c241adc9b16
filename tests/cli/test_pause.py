"""`perago pause` and `perago resume` where no worker runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.command import CommandLine


def test_both_can_be_said_twice(line: CommandLine, tmp_path: Path) -> None:
    variables = {"PERAGO_STATE_DIR": str(tmp_path / "state")}
    where = "state in <folder>/state\n"
    for command, said in [
        ("resume", f"not paused: no worker runs; {where}"),
        ("pause", f"paused: no worker runs, the next one takes no tasks; {where}"),
        ("pause", f"paused already: no worker runs, the next one takes no tasks; {where}"),
        ("status", "paused for <age>; perago resume ends it\n0 undelivered, 0 kept in <folder>/state\n"),
        ("resume", f"resumed: no worker runs; {where}"),
        ("resume", f"not paused: no worker runs; {where}"),
        ("status", "0 undelivered, 0 kept in <folder>/state\n"),
    ]:
        ran = line.run(command, **variables)
        stdout = re.sub(r"for \d+ s;", "for <age>;", ran.stdout)
        assert (ran.code, stdout, ran.stderr) == (0, said, "")


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_state_directory_that_is_none(line: CommandLine, tmp_path: Path, command: str) -> None:
    (tmp_path / "state").write_text("")
    ran = line.run(command, PERAGO_STATE_DIR=str(tmp_path / "state"))
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: <folder>/state/paused cannot be used: ")
    assert "\n  hint: run it as the user of the worker" in ran.stderr
