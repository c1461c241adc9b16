"""Pytest plugin: what was not run is said aloud, and fails a run in which everything must run.

`PERAGO_TEST_NO_SKIPS=1`, which `.ci/run` sets, is for that. It spares only what the machine itself does not
allow, which a test says with `not_allowed_here`.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import NoReturn

import pytest

VARIABLE = "PERAGO_TEST_NO_SKIPS"
NOT_ALLOWED = "the machine does not allow it: "


def not_allowed_here(reason: str) -> NoReturn:
    """Skip a test that needs what the machine, or this user of it, may not do."""
    pytest.skip(NOT_ALLOWED + reason)


def _skips(config: pytest.Config) -> Counter[str]:
    """Count the tests that were skipped by the reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)


def _is_failure(reason: str) -> bool:
    return os.environ.get(VARIABLE) == "1" and not reason.startswith(NOT_ALLOWED)


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that left out what it must not leave out."""
    if session.exitstatus == pytest.ExitCode.OK and any(map(_is_failure, _skips(session.config))):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was not run, and why."""
    for reason, count in _skips(config).items():
        failure = f", which {VARIABLE}=1 forbids" if _is_failure(reason) else ""
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(f"NOT RUN{failure}: {tests}: {reason}")
