"""Runs workspace tasks in real workers on the embedded store, and reads what a store of metrics shows."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from support.conductor import Conductor
from support.victoria_metrics import Sample
from support.waiting import until
from support.worker import Worker
from support.workspaces import Workspaces

from .measuring import Server

ROOT = Path(__file__).parents[2]
EXAMPLE = "features.build"
EXAMPLE_FILES = 4
EXAMPLE_BYTES = EXAMPLE_FILES * 250 + 33
FILES = {
    **{f"audio/render/raw/{number}.parquet": b"p" * 250 for number in range(EXAMPLE_FILES)},
    "audio/render/notes.txt": b"n" * 33,
    "audio/render2/raw/other.parquet": b"o" * 5,
    "in/a": b"a" * 1500,
    "in/b/c": b"c" * 40_000,
}
PUBLISHED = "runtime.workspace_io_duration_seconds"
ADDED = [700, 0, 300_000]
_NUMBERS = itertools.count(1)


@dataclass
class Carried:
    """What ran, and what the store shows of it: every series has a label `run` that no other run has."""

    server: Server
    label: str = field(default_factory=lambda: uuid.uuid4().hex)
    added: list[int] = field(default_factory=lambda: list(ADDED))
    prefix_bytes: int = 41_500
    wall_seconds: float = 0.0
    publishing: str = field(default_factory=lambda: _task("publishing"))
    reading: str = field(default_factory=lambda: _task("reading"))
    switched_off: str = field(default_factory=lambda: _task("switched-off"))

    def query(self, name: str, task: str, **labels: str) -> list[Sample]:
        """Return the series of a metric."""
        return self.server.store.query(self.server.selector(name, task_name=task, run=self.label, **labels))

    def operations(self, name: str, task: str) -> dict[str, float]:
        """Return how many values a histogram has for each operation."""
        return {sample.labels["operation"]: sample.value for sample in self.query(f"{name}_count", task)}

    def sum(self, name: str, task: str, **labels: str) -> float:
        """Return the sum of a histogram's values."""
        (sample,) = self.query(f"{name}_sum", task, **labels)
        return sample.value


def carry(server: Server, conductor: Conductor, store_url: str, root: Path) -> Carried:
    """Run each kind of task in a worker of its own, and stop the worker."""
    run = Carried(server)
    workspaces = Workspaces(store_url, FILES)

    def worker(task: str, module: str, **variables: str) -> Worker:
        workspaces.define(conductor, task)
        return Worker(
            root / task,
            conductor.url,
            task,
            module=module,
            PYTHONPATH=str(ROOT / "examples"),
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=server.store.endpoint,
            OTEL_METRIC_EXPORT_INTERVAL="300",
            OTEL_RESOURCE_ATTRIBUTES=f"run={run.label}",
            PERAGO_INSTANCE_ID=f"carrying-{run.label[:8]}",
            **workspaces.variables,
            **variables,
        )

    def completes(task: str, **params: object) -> None:
        done = workspaces.run(conductor, task, **params)
        assert done["status"] == "COMPLETED", done

    started_at = time.monotonic()
    with worker(EXAMPLE, "features_build") as example:
        completes(EXAMPLE, feature_set="all")
        assert example.stop() == 0
    assert workspaces.lake.head() == workspaces.commit, "the example changes nothing"
    with worker(run.publishing, "carrying") as publishing:
        for number, size in enumerate(run.added):
            completes(run.publishing, added={f"added-{number}": size})
            # Rates need totals that grow from one push to the next.
            until(lambda: run.operations(PUBLISHED, run.publishing).get("publish") == number + 1, "its push")  # noqa: B023
        assert publishing.stop() == 0
    with worker(run.reading, "carrying", SUITE_WORKSPACE=json.dumps({"read_only": True})) as reading:
        completes(run.reading, added={"dropped": 9})
        assert reading.stop() == 0
    switches = json.dumps({"workspace_io": False})
    with worker(run.switched_off, "carrying", SUITE_SWITCHES=switches) as switched_off:
        completes(run.switched_off, added={"more": 9})
        assert switched_off.stop() == 0
    run.wall_seconds = time.monotonic() - started_at
    return run


def _task(kind: str) -> str:
    return f"integration.{kind}.{uuid.uuid4().hex[:8]}.{next(_NUMBERS)}"
