"""A native recorder over an arena in a temporary directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perago import _native

TASK = "audio.transcribe"


class RecorderRig:
    """A recorder, the store that reads its arena, and the warnings that it gave."""

    def __init__(self, directory: Path) -> None:
        self.store = _native.ArenaStore(directory)
        self.path = self.store.begin("0")
        self.warnings: list[dict[str, str]] = []
        self.recorder = _native.open_recorder(self.path, TASK, warning=self.warnings.append)

    def series(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Any]]:
        """Every series by its name and sorted labels without `task_name`."""
        found = {}
        for series in self.store.series():
            labels = dict(series["labels"])
            assert labels.pop("task_name") == TASK
            found[series["name"], tuple(sorted(labels.items()))] = series
        return found

    def count(self, name: str, **labels: str) -> tuple[int, float]:
        """Count and sum of a histogram."""
        series = self.series()[name, tuple(sorted(labels.items()))]
        return series["count"], series["sum"]


@pytest.fixture
def rig(tmp_path: Path) -> RecorderRig:
    """One recorder."""
    return RecorderRig(tmp_path)


@pytest.fixture(scope="session")
def new_rig(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], RecorderRig]:
    """Makes recorders, each over an arena of its own."""
    return lambda: RecorderRig(tmp_path_factory.mktemp("arena"))
