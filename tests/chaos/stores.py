"""Stores of metrics for these tests: read whole, and a VictoriaMetrics that can be stopped and hung."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

from services.processes import Service, free_port, start_victoria_metrics, victoria_metrics_health
from support.metrics import MetricStore

Labels = frozenset[tuple[str, str]]
TOTALS = ("_count", "_sum", "_bucket")
# What rounding may take from a sum of fractions; counts and whole numbers have no such leave.
SUM_TOLERANCE = 1e-12


class WholeStore(MetricStore):
    """A store whose series are read with every sample."""

    def export(self, **labels: str) -> dict[Labels, dict[int, float]]:
        """Return every series with these labels: its samples by their time in milliseconds."""
        series = {}
        for one in self.exported(None, **labels):
            samples = zip(one["timestamps"], one["values"], strict=True)
            series[frozenset(one["metric"].items())] = {
                time: float(value) for time, value in samples if value is not None and math.isfinite(value)
            }
        return series


class History:
    """Every sample of every total that a store ever showed; it may forget the oldest.

    Args:
        store: Where to look.
        task: Whose series.
        labels: Further labels that the series have.
    """

    def __init__(self, store: WholeStore, task: str, **labels: str) -> None:
        self._store = store
        self._labels = {"task_name": task, **labels}
        self.series: dict[Labels, dict[int, float]] = {}

    def look(self) -> None:
        """Read what is there now."""
        for labels, samples in self._store.export(**self._labels).items():
            self.series.setdefault(labels, {}).update(samples)

    @property
    def samples(self) -> int:
        """How many samples of totals were seen."""
        return sum(len(samples) for labels, samples in self.series.items() if is_total(labels))

    def falls(self) -> list[str]:
        """Describe each total that was once less than before."""
        found = []
        for labels, samples in self.series.items():
            if not is_total(labels):
                continue
            is_sum = dict(labels)["__name__"].endswith("_sum")
            highest = 0.0
            for time in sorted(samples):
                value = samples[time]
                if value < highest * (1 - SUM_TOLERANCE if is_sum else 1):
                    found.append(f"{dict(labels)}: {highest!r} then {value!r} at {time}")
                highest = max(highest, value)
        return found

    def last(self, name: str, **labels: str) -> dict[Labels, float]:
        """Return the last value of each series of this name with these labels."""
        wanted = {("__name__", name), *labels.items()}
        found = {one: samples for one, samples in self.series.items() if wanted <= one and samples}
        return {one: samples[max(samples)] for one, samples in found.items()}

    def total(self, name: str, **labels: str) -> float:
        """Return the last value of the only series of this name with these labels; nothing is 0."""
        found = list(self.last(name, **labels).values())
        assert len(found) <= 1, f"{name} {labels}: {len(found)} series"
        return found[0] if found else 0.0

    def buckets(self, name: str) -> dict[float, int]:
        """Return the count of each bucket of a histogram without labels, by its upper bound."""
        cumulative = sorted(
            (float(dict(one)["le"]), value) for one, value in self.last(f"{name}_bucket").items()
        )
        counts, below = {}, 0.0
        for bound, value in cumulative:
            counts[bound] = round(value - below)
            below = value
        return counts


def is_total(labels: Labels) -> bool:
    """Whether a series only ever grows."""
    return dict(labels)["__name__"].endswith(TOTALS)


class OwnVictoriaMetrics:
    """A real VictoriaMetrics on one port, which comes back there with what it held."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._service: Service | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._service is None
        self._service = start_victoria_metrics(self._folder, self._port)
        self._service.wait_until_ready(victoria_metrics_health(self._service))

    def stop(self) -> None:
        """Stop it: connections are refused from now on."""
        if self._service is not None:
            self.resume()
            self._service.stop()
            self._service = None

    def hang(self) -> None:
        """Let it accept connections and never answer."""
        assert self._service is not None
        os.killpg(self._service.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._service is not None
        os.killpg(self._service.process.pid, signal.SIGCONT)

    def __enter__(self) -> OwnVictoriaMetrics:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
