"""Pytest plugin: the embedded services, and the real ones where they are asked for.

Tests that need a real server carry the mark `services`. They are deselected, with one visible line, unless
`PERAGO_TEST_SERVICES=1` (the plugin fetches and starts the servers) or `PERAGO_TEST_CONDUCTOR_URL` /
`PERAGO_TEST_VICTORIA_METRICS_URL` (servers that run already) are set. Those that need a real lakeFS carry the
mark `lakefs` and run where `PERAGO_TEST_LAKEFS=1`, against the server that the `LAKECTL_*` variables name.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.said import say

from .processes import (
    conductor_health,
    start_conductor,
    start_victoria_metrics,
    victoria_metrics_health,
)

CONDUCTOR_VARIABLE = "PERAGO_TEST_CONDUCTOR_URL"
VICTORIA_METRICS_VARIABLE = "PERAGO_TEST_VICTORIA_METRICS_URL"
ANNOUNCEMENT = "listening: "


def real_services_wanted() -> bool:
    """Return whether tests against real servers are to run."""
    return os.environ.get("PERAGO_TEST_SERVICES") == "1" or bool(os.environ.get(CONDUCTOR_VARIABLE))


def real_lakefs_wanted() -> bool:
    """Return whether tests against a real lakeFS are to run; it is named by the LAKECTL variables."""
    return os.environ.get("PERAGO_TEST_LAKEFS") == "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs real servers when nobody asked for them, and say so."""
    for mark, server, switch, is_wanted in (
        ("services", "Conductor", "PERAGO_TEST_SERVICES=1", real_services_wanted()),
        ("lakefs", "lakeFS", "PERAGO_TEST_LAKEFS=1", real_lakefs_wanted()),
    ):
        left_out = [item for item in items if item.get_closest_marker(mark)]
        if left_out and not is_wanted:
            items[:] = [item for item in items if item not in set(left_out)]
            config.hook.pytest_deselected(items=left_out)
            say(config, f"real {server}: NOT RUN ({len(left_out)} tests; {switch} runs them)")


@pytest.fixture(scope="session")
def real_conductor_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """API base of the real Conductor."""
    if url := os.environ.get(CONDUCTOR_VARIABLE):
        yield url
        return
    service = start_conductor(tmp_path_factory.mktemp("conductor"))
    try:
        service.wait_until_ready(conductor_health(service))
        yield f"{service.url}/api"
    finally:
        service.stop()


@pytest.fixture(scope="session")
def real_victoria_metrics_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of the real VictoriaMetrics."""
    if url := os.environ.get(VICTORIA_METRICS_VARIABLE):
        yield url
        return
    service = start_victoria_metrics(tmp_path_factory.mktemp("victoria-metrics"))
    try:
        service.wait_until_ready(victoria_metrics_health(service))
        yield service.url
    finally:
        service.stop()


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    """Base URL of the embedded services, started as a user starts them."""
    with embedded_server() as url:
        yield url


class embedded_server:
    """Start `perago dev` with further arguments; a context manager that yields its base URL."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        command = os.environ.get("PERAGO_TEST_DEV_COMMAND")
        base = shlex.split(command) if command else [sys.executable, "-m", "perago", "dev"]
        self.command = [*base, "--listen", f"127.0.0.1:{port}", *arguments]

    def __enter__(self) -> str:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(ANNOUNCEMENT):
            self.__exit__()
            raise RuntimeError(f"`{' '.join(self.command)}` did not announce its address, but: {line!r}")
        return line.removeprefix(ANNOUNCEMENT).strip()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.__exit__()

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
