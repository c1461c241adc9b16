"""Pytest plugin: lines to be read below the results, also where several processes run the tests."""

from __future__ import annotations

from typing import Any

import pytest

_SAID = pytest.StashKey[list[str]]()
_OUTPUT = "said"


def say(config: pytest.Config, line: str) -> None:
    """Have a line written at the end, once."""
    lines = config.stash.setdefault(_SAID, [])
    if line not in lines:
        lines.append(line)


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the lines to the process that writes the results, where that is another one."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = session.config.stash.get(_SAID, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the lines of a process that has run its tests; one that died has left none."""
    for line in getattr(node, "workeroutput", {}).get(_OUTPUT, []):
        say(node.config, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the lines."""
    for line in config.stash.get(_SAID, []):
        terminalreporter.write_line(line)
