"""What a worker measures of workspaces: `runtime.workspace_io_*` and `perago.workspace_bytes_total`.

The store of files is the embedded one throughout; Conductor and VictoriaMetrics are embedded or real.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from support.conductor import Conductor
from support.metrics import MetricStore, value_is
from support.waiting import until
from support.worker import Worker
from support.workspaces import Workspaces

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = "runtime.workspace_io_duration_seconds"
BYTES = "runtime.workspace_io_bytes"
SOURCES = "perago.workspace_bytes_total"
OPERATIONS = ("download", "upload", "publish")
# The prefix `in` of the task; what only starts like it is not part of it.
FILES = {"in/a": b"a" * 1000, "in/raw/b": b"b" * 50_000, "in2/c": b"c" * 7, "d": b"d" * 9}
PREFIX_BYTES = 51_000
HISTOGRAM = ("_bucket", "_count", "_sum")


@pytest.fixture
def workspaces(embedded_url: str) -> Workspaces:
    return Workspaces(embedded_url, FILES)


Counts = dict[str, tuple[float | None, float | None]]


def counts(store: MetricStore, **labels: str) -> Counts:
    """By operation how many durations and how many sizes were recorded, None without a series."""
    found: Counts = {}
    for operation in OPERATIONS:
        seconds, sizes = (
            store.value(f"{name}_count", operation=operation, **labels) for name in (SECONDS, BYTES)
        )
        if (seconds, sizes) != (None, None):
            found[operation] = (seconds, sizes)
    return found


def counts_are(store: MetricStore, expected: Counts, **labels: str) -> None:
    until(lambda: counts(store, **labels) == expected or None, f"{expected}, not {counts(store, **labels)}")


def test_the_example_of_the_guide_runs_unchanged(
    conductor: Conductor, store: MetricStore, settings: dict[str, str], embedded_url: str, tmp_path: Path
) -> None:
    files = {f"audio/render/raw/{number}.parquet": b"p" * 300 for number in range(3)}
    files |= {"audio/render/raw/notes.txt": b"n" * 11, "audio/render2/raw/other.parquet": b"o" * 5}
    workspaces = Workspaces(embedded_url, files)
    workspaces.define(conductor, "features.build")
    run = {"task_name": "features.build", "run": uuid.uuid4().hex}
    variables = {
        **settings,
        **workspaces.variables,
        "PYTHONPATH": str(EXAMPLES),
        "OTEL_RESOURCE_ATTRIBUTES": f"run={run['run']}",
    }
    with Worker(tmp_path, conductor.url, "", module="features_build", **variables) as worker:
        task = workspaces.run(conductor, "features.build", feature_set="all")
        assert task["status"] == "COMPLETED", task
        assert worker.stop() == 0
    # It changes nothing, so it leaves the branch as it was.
    assert task["outputData"]["result"] == {"row_count": 100}
    assert task["outputData"]["workspace"]["ref"] == workspaces.commit == workspaces.lake.head()
    value_is(store, 3, "app.input_files_sum", **run)
    counts_are(store, {"download": (1, 1), "publish": (1, None)}, **run)
    value_is(store, 3 * 300 + 11, f"{BYTES}_sum", operation="download", **run)
    for operation in ("download", "publish"):
        seconds = store.value(f"{SECONDS}_sum", operation=operation, **run)
        assert seconds is not None
        assert 0 < seconds < 60
    names = {f"{name}{suffix}" for name in (SECONDS, BYTES) for suffix in HISTOGRAM}
    assert names == {name for name in store.names(**run) if "workspace" in name}


class Rig:
    """A task on a repository, with an engine and a store of metrics; workers of it are started one by one."""

    def __init__(
        self,
        conductor: Conductor,
        store: MetricStore,
        settings: dict[str, str],
        workspaces: Workspaces,
        task: str,
        root: Path,
    ) -> None:
        workspaces.define(conductor, task)
        self.conductor, self.store, self.workspaces = conductor, store, workspaces
        self.task, self.root = task, root
        self._variables = {**settings, **workspaces.variables}

    def worker(self, **variables: str) -> Worker:
        """A worker with further variables."""
        given = {**self._variables, **variables}
        return Worker(self.root, self.conductor.url, self.task, module="carrying", **given)

    def run(self, **options: Any) -> dict[str, Any]:
        """Run the task; return its last attempt."""
        return self.workspaces.run(self.conductor, self.task, **options)

    def shows(self, expected: float | None, name: str, **labels: str) -> None:
        """Wait until a metric of the task has a value."""
        value_is(self.store, expected, name, task_name=self.task, **labels)

    def counts(self, **expected: tuple[float, float | None]) -> None:
        """Wait until so many durations and sizes are recorded, by operation."""
        counts_are(self.store, dict(expected), task_name=self.task)

    def carried(self, expected: int, operation: str) -> None:
        """Wait until so many bytes were carried."""
        self.shows(expected, f"{BYTES}_sum", operation=operation)


@pytest.fixture
def rig(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    workspaces: Workspaces,
    tmp_path: Path,
    task_name: str,
) -> Rig:
    return Rig(conductor, store, settings, workspaces, task_name, tmp_path)


def test_each_operation_is_measured_where_it_happens_and_nowhere_else(rig: Rig) -> None:
    lake = rig.workspaces.lake
    with rig.worker() as worker:
        assert rig.run()["status"] == "COMPLETED"
        rig.counts(download=(1, 1), publish=(1, None))
        rig.carried(PREFIX_BYTES, "download")

        # From the cache this time, and counted all the same; of the upload only what was sent.
        assert rig.run(added={"new": 2000, "raw/b": 3})["status"] == "COMPLETED"
        rig.counts(download=(2, 2), upload=(1, 1), publish=(2, None))
        rig.carried(2 * PREFIX_BYTES, "download")
        rig.carried(2003, "upload")

        # A deletion is staged like an upload and carries nothing.
        assert rig.run(removed=["new"])["status"] == "COMPLETED"
        rig.counts(download=(3, 3), upload=(2, 2), publish=(3, None))
        rig.carried(2003, "upload")

        assert rig.run(fails=True, added={"lost": 5})["status"] == "FAILED"
        rig.counts(download=(4, 4), upload=(2, 2), publish=(3, None))

        # A download that fails took its time and carried nothing.
        assert rig.run(ref="0" * 64)["status"] == "FAILED"
        rig.counts(download=(5, 4), upload=(2, 2), publish=(3, None))

        # So did a publication over the commit of somebody else, which is refused before anything is sent.
        before = lake.head()
        lake.put("main", "d", "someone else's")
        assert lake.commit("main").status == 201
        assert rig.run(ref=before, added={"late": 10})["status"] == "FAILED"
        rig.counts(download=(6, 5), upload=(2, 2), publish=(4, None))
        assert worker.stop() == 0


def test_a_read_only_task_has_downloads_only(rig: Rig) -> None:
    with rig.worker(SUITE_WORKSPACE=json.dumps({"read_only": True})) as worker:
        task = rig.run(added={"ignored": 10})
        commit = rig.workspaces.commit
        assert (task["status"], task["outputData"]["workspace"]["ref"]) == ("COMPLETED", commit)
        assert worker.stop() == 0
    rig.counts(download=(1, 1))
    assert rig.workspaces.lake.head() == commit


def test_the_switch_takes_away_these_series_and_no_other(rig: Rig) -> None:
    with rig.worker(SUITE_SWITCHES=json.dumps({"workspace_io": False})) as worker:
        assert rig.run(added={"new": 10})["status"] == "COMPLETED"
        assert worker.stop() == 0
    rig.shows(1, "runtime.task_attempt_duration_seconds_count")
    # The gauges of a worker end with it, in the store's own time.
    rig.shows(None, "runtime.busy_slots")
    expected = {f"app.items{suffix}" for suffix in HISTOGRAM}
    expected |= {f"runtime.task_attempt_duration_seconds{suffix}" for suffix in HISTOGRAM}
    assert set(rig.store.names(task_name=rig.task)) == expected


@pytest.mark.parametrize("cache", ["on", "off"])
def test_a_worker_tells_what_came_from_its_cache(rig: Rig, cache: str) -> None:
    with rig.worker(PERAGO_WORKER_METRICS="1", PERAGO_WORKSPACE_CACHE=cache) as worker:
        rig.shows(0, SOURCES, source="network")
        rig.shows(0, SOURCES, source="cache")
        for again in range(2):
            assert rig.run()["status"] == "COMPLETED"
            from_cache = PREFIX_BYTES * again if cache == "on" else 0
            rig.shows(from_cache, SOURCES, source="cache")
            rig.shows(PREFIX_BYTES * (again + 1) - from_cache, SOURCES, source="network")
        assert worker.stop() == 0
