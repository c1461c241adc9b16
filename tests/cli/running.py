"""What tests of `perago run` share."""

from __future__ import annotations

import re

from support.command import CommandLine, Ran

from .modules import GOOD

COMPLETED = """\
demo.good: COMPLETED, the body took <s> s
result: {
  "n": 3
}
"""
CHANGES = """\
  added new/file.txt (5 B)
  changed changed.txt (5 B, was 7 B)
  removed removed.txt (4 B)
"""
METRICS = """\
metrics:
  app.depth: 2
  app.edits{kind="text"}: count 2, sum 4.5
"""
ORIGINAL = {"kept.txt": "kept", "changed.txt": "changed", "same.txt": "same", "removed.txt": "gone"}


def body(text: str) -> str:
    """The module GOOD with another body."""
    return GOOD.replace("    return Result(n=params.n)\n", text)


def timeless(text: str) -> str:
    """Replace durations and rates."""
    text = re.sub(r"\d+\.\d+ s\b", "<s> s", text)
    text = re.sub(r"\([\d.]+ [KMG]?i?B/s\)", "(<rate>)", text)
    return re.sub(r"perago-run-\w+", "perago-run-<id>", text)


def run(line: CommandLine, *arguments: str, **values: str) -> Ran:
    """Run `perago run ARGUMENTS` with durations replaced."""
    ran = line.run("run", *arguments, **values)
    return Ran(ran.code, timeless(ran.stdout), timeless(ran.stderr))


def failing(line: CommandLine, *arguments: str, **values: str) -> Ran:
    """The same where the author's traceback is shown."""
    ran = line.run("run", *arguments, shows_traceback=True, **values)
    return Ran(ran.code, timeless(ran.stdout), timeless(ran.stderr))
