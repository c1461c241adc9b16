"""Recorders under test: a worker's over an arena in a temporary directory, and the one in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perago import _native
from perago.metrics import InMemoryMetricRecorder

TASK = "audio.transcribe"

Series = dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Any]]


class Rig(ABC):
    """A recorder, the series that came of it, and the warnings that it gave."""

    recorder: Any
    warnings: list[dict[str, str]]

    @abstractmethod
    def exported(self) -> list[dict[str, Any]]:
        """Every series as a dictionary of `name`, `labels` and either `value` or `count` and `sum`."""

    @abstractmethod
    def dropped(self) -> dict[str, int]:
        """How many samples or labels were dropped or changed, by reason."""

    def series(self) -> Series:
        """Every series by its name and sorted labels without `task_name`."""
        found = {}
        for series in self.exported():
            labels = dict(series["labels"])
            assert labels.pop("task_name") == TASK
            found[series["name"], tuple(sorted(labels.items()))] = series
        return found

    def count(self, name: str, **labels: str) -> tuple[int, float]:
        """Count and sum of a histogram."""
        series = self.series()[name, tuple(sorted(labels.items()))]
        return series["count"], series["sum"]


class RecorderRig(Rig):
    """A worker's recorder, with the store that reads its arena."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.store = _native.ArenaStore(directory)
        self.path = self.store.begin("0")
        self.warnings = []
        self.recorder = _native.open_recorder(self.path, TASK, warning=self.warnings.append, **options)

    def exported(self) -> list[dict[str, Any]]:
        return self.store.series()

    def dropped(self) -> dict[str, int]:
        return self.store.dropped()


class MemoryRig(Rig):
    """The recorder of the testing kit, with its samples added up as a store would."""

    def __init__(self, **options: Any) -> None:
        self.warnings = []
        self.recorder = InMemoryMetricRecorder(TASK, warnings=self.warnings, **options)

    def exported(self) -> list[dict[str, Any]]:
        found: dict[Any, dict[str, Any]] = {}
        for sample in self.recorder.histograms:
            key = (sample.name, frozenset(sample.labels.items()))
            series = found.setdefault(
                key, {"name": sample.name, "labels": sample.labels, "count": 0, "sum": 0.0}
            )
            series["count"] += 1
            series["sum"] += sample.value
        for sample in self.recorder.gauges:
            key = (sample.name, frozenset(sample.labels.items()))
            found[key] = {"name": sample.name, "labels": sample.labels, "value": sample.value}
        return list(found.values())

    def dropped(self) -> dict[str, int]:
        return dict(self.recorder.dropped)


@pytest.fixture
def rig(tmp_path: Path) -> RecorderRig:
    """A worker's recorder."""
    return RecorderRig(tmp_path)


@pytest.fixture(scope="session")
def new_rig(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RecorderRig]:
    """Makes recorders of a worker, each over an arena of its own."""
    return lambda **options: RecorderRig(tmp_path_factory.mktemp("arena"), **options)


@pytest.fixture(params=["worker", "memory"])
def new_either(request: pytest.FixtureRequest, new_rig: Callable[..., RecorderRig]) -> Callable[..., Rig]:
    """Makes recorders of one kind: each rule holds for both."""
    return new_rig if request.param == "worker" else MemoryRig


@pytest.fixture
def either(new_either: Callable[..., Rig]) -> Rig:
    """A recorder of one kind."""
    return new_either()
