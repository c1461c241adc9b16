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


def carried(store: MetricStore, expected: int, operation: str, **labels: str) -> None:
    value_is(store, expected, f"{BYTES}_sum", operation=operation, **labels)


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
    carried(store, 3 * 300 + 11, "download", **run)
    for operation in ("download", "publish"):
        seconds = store.value(f"{SECONDS}_sum", operation=operation, **run)
        assert seconds is not None
        assert 0 < seconds < 60
    names = {f"{name}{suffix}" for name in (SECONDS, BYTES) for suffix in HISTOGRAM}
    assert names == {name for name in store.names(**run) if "workspace" in name}


def test_each_operation_is_measured_where_it_happens_and_nowhere_else(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    workspaces: Workspaces,
    tmp_path: Path,
    task_name: str,
) -> None:
    workspaces.define(conductor, task_name)
    task = {"task_name": task_name}
    variables = {**settings, **workspaces.variables}

    def run(**options: Any) -> str:
        return str(workspaces.run(conductor, task_name, **options)["status"])

    with Worker(tmp_path, conductor.url, task_name, module="carrying", **variables) as worker:
        assert run() == "COMPLETED"
        counts_are(store, {"download": (1, 1), "publish": (1, None)}, **task)
        carried(store, PREFIX_BYTES, "download", **task)

        # From the cache this time, and counted all the same; of the upload only what was sent.
        assert run(added={"new": 2000, "raw/b": 3}) == "COMPLETED"
        counts_are(store, {"download": (2, 2), "upload": (1, 1), "publish": (2, None)}, **task)
        carried(store, 2 * PREFIX_BYTES, "download", **task)
        carried(store, 2003, "upload", **task)

        # A deletion is staged like an upload and carries nothing.
        assert run(removed=["new"]) == "COMPLETED"
        counts_are(store, {"download": (3, 3), "upload": (2, 2), "publish": (3, None)}, **task)
        carried(store, 2003, "upload", **task)

        assert run(fails=True, added={"lost": 5}) == "FAILED"
        counts_are(store, {"download": (4, 4), "upload": (2, 2), "publish": (3, None)}, **task)

        # A download that fails took its time and carried nothing.
        assert run(ref="0" * 64) == "FAILED"
        counts_are(store, {"download": (5, 4), "upload": (2, 2), "publish": (3, None)}, **task)

        # So did a publication over the commit of somebody else, which is refused before anything is sent.
        before = workspaces.lake.head()
        workspaces.lake.put("main", "d", "someone else's")
        assert workspaces.lake.commit("main").status == 201
        assert run(ref=before, added={"late": 10}) == "FAILED"
        counts_are(store, {"download": (6, 5), "upload": (2, 2), "publish": (4, None)}, **task)
        assert worker.stop() == 0


def test_a_read_only_task_has_downloads_only(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    workspaces: Workspaces,
    tmp_path: Path,
    task_name: str,
) -> None:
    workspaces.define(conductor, task_name)
    variables = {**settings, **workspaces.variables, "SUITE_WORKSPACE": json.dumps({"read_only": True})}
    with Worker(tmp_path, conductor.url, task_name, module="carrying", **variables) as worker:
        task = workspaces.run(conductor, task_name, added={"ignored": 10})
        assert (task["status"], task["outputData"]["workspace"]["ref"]) == ("COMPLETED", workspaces.commit)
        assert worker.stop() == 0
    counts_are(store, {"download": (1, 1)}, task_name=task_name)
    assert workspaces.lake.head() == workspaces.commit


def test_the_switch_takes_away_these_series_and_no_other(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    workspaces: Workspaces,
    tmp_path: Path,
    task_name: str,
) -> None:
    workspaces.define(conductor, task_name)
    variables = {**settings, **workspaces.variables, "SUITE_SWITCHES": json.dumps({"workspace_io": False})}
    with Worker(tmp_path, conductor.url, task_name, module="carrying", **variables) as worker:
        assert workspaces.run(conductor, task_name, added={"new": 10})["status"] == "COMPLETED"
        assert worker.stop() == 0
    value_is(store, 1, "runtime.task_attempt_duration_seconds_count", task_name=task_name)
    # The gauges of a worker end with it, in the store's own time.
    value_is(store, None, "runtime.busy_slots", task_name=task_name)
    expected = {f"app.items{suffix}" for suffix in HISTOGRAM}
    expected |= {f"runtime.task_attempt_duration_seconds{suffix}" for suffix in HISTOGRAM}
    assert set(store.names(task_name=task_name)) == expected


@pytest.mark.parametrize("cache", ["on", "off"])
def test_a_worker_tells_what_came_from_its_cache(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    workspaces: Workspaces,
    tmp_path: Path,
    task_name: str,
    cache: str,
) -> None:
    workspaces.define(conductor, task_name)
    task = {"task_name": task_name}
    variables = {
        **settings,
        **workspaces.variables,
        "PERAGO_WORKER_METRICS": "1",
        "PERAGO_WORKSPACE_CACHE": cache,
    }
    with Worker(tmp_path, conductor.url, task_name, module="carrying", **variables) as worker:
        value_is(store, 0, SOURCES, source="network", **task)
        value_is(store, 0, SOURCES, source="cache", **task)
        for again in range(2):
            assert workspaces.run(conductor, task_name)["status"] == "COMPLETED"
            from_cache = PREFIX_BYTES * again if cache == "on" else 0
            value_is(store, from_cache, SOURCES, source="cache", **task)
            value_is(store, PREFIX_BYTES * (again + 1) - from_cache, SOURCES, source="network", **task)
        assert worker.stop() == 0
