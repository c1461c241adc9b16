"""The guide's promises about metrics, on a real VictoriaMetrics, with numbers that are known beforehand."""

from __future__ import annotations

import os
import re
import signal
from bisect import bisect_left
from collections import Counter
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.victoria_metrics import Naming
from support.waiting import until

from .carrying import EXAMPLE, EXAMPLE_BYTES, EXAMPLE_FILES, Carried, carry
from .measuring import (
    ATTEMPTS,
    BUSY,
    BYTES_BOUNDS,
    CHUNKS,
    COMBINATIONS,
    GENERAL_BOUNDS,
    SECONDS,
    SECONDS_BOUNDS,
    SIZES,
    Measured,
    Server,
    Switches,
    measure,
)

Key = tuple[str, frozenset[tuple[str, str]]]

# As the guide prints them.
AVERAGE_MODEL_CALL = """
sum by (task_name) ({__name__="app.model_call_sum"})
/
sum by (task_name) ({__name__="app.model_call_count"})
"""
AVERAGE_WORKSPACE_IO = """
sum by (task_name, operation) ({__name__="runtime.workspace_io_duration_seconds_sum"})
/
sum by (task_name, operation) ({__name__="runtime.workspace_io_duration_seconds_count"})
"""

IO_SECONDS = "runtime.workspace_io_duration_seconds"
IO_BYTES = "runtime.workspace_io_bytes"
RESOURCE = ("service.name", "service.instance.id")
LABELS: dict[str, dict[str, str]] = {
    "app.audio_chunks": {"stage": "decode", "format": "wav"},
    "app.render_seconds": {},
    "app.upload_bytes": {"target": "cold"},
    "app.model_call": {"provider": "openai"},
}
KNOWN_VALUES = {"app.audio_chunks": CHUNKS, "app.render_seconds": SECONDS, "app.upload_bytes": SIZES}


def bounds_of(name: str) -> list[float]:
    """The bounds of a histogram, which follow from its name."""
    if name.endswith("_seconds"):
        return SECONDS_BOUNDS
    return BYTES_BOUNDS if name.endswith("_bytes") else GENERAL_BOUNDS


def shown_bound(text: str) -> str:
    """A bound in one spelling, however the store spells it."""
    return str(float(text))


def split(server: Server, labels: dict[str, str]) -> tuple[Key, frozenset[tuple[str, str]]]:
    """A series of the store as name and own labels, and as resource attributes."""
    resource = {server.naming.shown(key) for key in RESOURCE}
    own = {
        key: shown_bound(value) if key == "le" else value
        for key, value in labels.items()
        if key not in resource and key != "__name__"
    }
    attributes = frozenset((key, value) for key, value in labels.items() if key in resource)
    return (labels["__name__"], frozenset(own.items())), attributes


def expected_series(run: Measured) -> set[Key]:
    """Every series of a run, and no other."""
    expected: set[Key] = set()

    def add(name: str, **labels: str) -> None:
        expected.add((run.server.naming.shown(name), frozenset({"task_name": run.task, **labels}.items())))

    histograms = dict(LABELS)
    if run.switches.attempts:
        histograms[ATTEMPTS] = {}
    for name, labels in histograms.items():
        add(f"{name}_count", **labels)
        add(f"{name}_sum", **labels)
        for bound in [*bounds_of(name), float("inf")]:
            add(f"{name}_bucket", **labels, le=str(float(bound)))
    add("app.queue_depth")
    if run.switches.worker_capacity:
        add(BUSY, perago_instance_id=run.instance)
    return expected


# What a server calls a series does not depend on the switches: where there is all or nothing shows it.
RUNS = [("configured", switches) for switches in COMBINATIONS]
RUNS += [("other", switches) for switches in (COMBINATIONS[0], COMBINATIONS[-1])]


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: f"{run[0]}-{run[1]}")
def run(
    request: pytest.FixtureRequest, embedded: Conductor, tmp_path_factory: pytest.TempPathFactory
) -> Measured:
    """A worker's run for each combination of switches."""
    named, switches = request.param
    server: Server = request.getfixturevalue(f"{named}_server")
    return measure(server, switches, embedded, tmp_path_factory.mktemp("measured"))


def test_names_and_labels_are_exactly_the_documented_ones(run: Measured) -> None:
    stored = [split(run.server, labels) for labels in run.server.store.series(f'{{task_name="{run.task}"}}')]
    keys = [key for key, _ in stored]
    assert set(keys) == expected_series(run)
    assert len(keys) == len(set(keys)), "a series is there twice, under two resources"


def test_one_worker_has_one_stable_identity(run: Measured) -> None:
    stored = run.server.store.series(f'{{task_name="{run.task}"}}')
    (attributes,) = {split(run.server, labels)[1] for labels in stored}
    name, instance = (dict(attributes)[run.server.naming.shown(key)] for key in RESOURCE)
    assert name == "perago"
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", instance)


@pytest.mark.parametrize("name", KNOWN_VALUES)
def test_counts_sums_and_buckets_of_known_values(run: Measured, name: str) -> None:
    values = KNOWN_VALUES[name] * (run.bodies)
    own = {"task_name": run.task}
    assert run.server.value(f"{name}_count", **own) == len(values)
    assert run.server.value(f"{name}_sum", **own) == pytest.approx(sum(values), rel=1e-12)
    bounds = bounds_of(name)
    in_bucket = [0] * (len(bounds) + 1)
    for value in values:
        # A bound belongs to its bucket.
        in_bucket[bisect_left(bounds, value)] += 1
    expected = {str(float(bound)): sum(in_bucket[: index + 1]) for index, bound in enumerate(bounds)}
    expected["inf"] = len(values)
    found = run.server.store.query(run.server.selector(f"{name}_bucket", **own))
    assert {shown_bound(sample.labels["le"]): sample.value for sample in found} == expected


def test_a_timer_records_seconds_under_its_own_name_also_when_the_body_raises(run: Measured) -> None:
    own = {"task_name": run.task, "provider": "openai"}
    # The body that met the test ran without known values.
    assert run.server.value("app.model_call_count", **own) == run.bodies + 1
    total = run.server.value("app.model_call_sum", **own)
    assert total is not None
    assert run.timer_inside <= total <= run.timer_outside
    above = run.server.value("app.model_call_bucket", **own, le="+Inf")
    assert above == run.bodies + 1


def test_the_page_s_average_of_an_application_metric(run: Measured) -> None:
    query = run.server.naming.query(AVERAGE_MODEL_CALL)
    (mine,) = [sample for sample in run.server.store.query(query) if sample.labels["task_name"] == run.task]
    assert mine.labels == {"task_name": run.task}
    calls = run.bodies + 1
    assert run.timer_inside / calls <= mine.value <= run.timer_outside / calls
    for name, values in KNOWN_VALUES.items():
        own = f'task_name="{run.task}"'
        text = f'sum by (task_name) ({{__name__="{name}_sum",{own}}}) / '
        text += f'sum by (task_name) ({{__name__="{name}_count",{own}}})'
        average = run.server.store.value(run.server.naming.query(text))
        assert average == pytest.approx(sum(values) / len(values), rel=1e-12)


def test_the_page_s_average_of_workspace_io_has_no_row_for_a_task_without_workspace(run: Measured) -> None:
    query = run.server.naming.query(AVERAGE_WORKSPACE_IO)
    assert run.task not in {sample.labels["task_name"] for sample in run.server.store.query(query)}


@pytest.fixture(scope="module")
def carried(
    server: Server,
    embedded: Conductor,
    embedded_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Carried:
    """Runs of workspace tasks: the guide's example, and one that publishes, only reads, has no switch."""
    return carry(server, embedded, embedded_url, tmp_path_factory.mktemp("carried"))


def test_the_page_s_example_has_the_series_of_a_task_that_changes_nothing(carried: Carried) -> None:
    assert carried.operations(IO_SECONDS, EXAMPLE) == {"download": 1, "publish": 1}
    assert carried.operations(IO_BYTES, EXAMPLE) == {"download": 1}
    assert carried.sum(IO_BYTES, EXAMPLE, operation="download") == EXAMPLE_BYTES
    assert carried.sum("app.input_files", EXAMPLE) == EXAMPLE_FILES


def test_bytes_and_durations_of_each_operation_are_right(carried: Carried) -> None:
    task = carried.publishing
    runs = len(carried.added)
    assert carried.operations(IO_SECONDS, task) == {"download": runs, "upload": runs, "publish": runs}
    assert carried.operations(IO_BYTES, task) == {"download": runs, "upload": runs}
    assert carried.sum(IO_BYTES, task, operation="upload") == sum(carried.added)
    # Each run finds what those before it have published.
    downloads = [carried.prefix_bytes + sum(carried.added[:number]) for number in range(runs)]
    assert carried.sum(IO_BYTES, task, operation="download") == sum(downloads)
    for operation, sizes in (("download", downloads), ("upload", carried.added)):
        found = carried.query(f"{IO_BYTES}_bucket", task, operation=operation)
        expected = {
            str(float(bound)): sum(size <= bound for size in sizes) for bound in [*BYTES_BOUNDS, float("inf")]
        }
        assert {shown_bound(sample.labels["le"]): sample.value for sample in found} == expected
    total = sum(
        carried.sum(IO_SECONDS, task, operation=operation) for operation in ("download", "upload", "publish")
    )
    assert 0 < total < carried.sum(ATTEMPTS, task) + carried.wall_seconds


def test_the_number_of_series_of_a_workspace_is_the_documented_one(carried: Carried) -> None:
    for task, expected in ((carried.publishing, 3 * 23 + 2 * 19), (carried.reading, 23 + 19)):
        series = carried.server.store.series(f'{{task_name="{task}",run="{carried.label}"}}')
        assert len([one for one in series if "workspace_io" in one["__name__"]]) == expected


def test_a_task_that_only_reads_has_downloads_and_nothing_else(carried: Carried) -> None:
    assert carried.operations(IO_SECONDS, carried.reading) == {"download": 1}
    assert carried.operations(IO_BYTES, carried.reading) == {"download": 1}


def test_without_the_switch_there_are_no_workspace_series(carried: Carried) -> None:
    assert carried.operations(IO_SECONDS, carried.switched_off) == {}
    assert carried.operations(IO_BYTES, carried.switched_off) == {}
    assert carried.sum(ATTEMPTS, carried.switched_off) > 0


def test_the_page_s_average_of_workspace_io(carried: Carried) -> None:
    server = carried.server
    rows = server.store.query(server.naming.query(AVERAGE_WORKSPACE_IO))
    for task, operations in (
        (carried.publishing, {"download", "upload", "publish"}),
        (carried.reading, {"download"}),
        (carried.switched_off, set()),
    ):
        mine = {row.labels["operation"]: row.value for row in rows if row.labels["task_name"] == task}
        assert mine.keys() == operations
        for operation, average in mine.items():
            count = carried.operations(IO_SECONDS, task)[operation]
            total = carried.sum(IO_SECONDS, task, operation=operation)
            assert average == pytest.approx(total / count, rel=1e-12)
            assert 0 < average < carried.wall_seconds
    # The store may hold runs of the example by others.
    example = {row.labels["operation"] for row in rows if row.labels["task_name"] == EXAMPLE}
    assert {"download", "publish"} <= example
    assert all(set(row.labels) == {"task_name", "operation"} for row in rows)


def test_attempts_of_every_outcome_are_counted_if_switched_on(run: Measured) -> None:
    count = run.server.value(f"{ATTEMPTS}_count", task_name=run.task)
    if not run.switches.attempts:
        assert count is None
        return
    assert count == run.attempts == 6
    total = run.server.value(f"{ATTEMPTS}_sum", task_name=run.task)
    assert total is not None
    assert run.timer_inside < total < run.wall_seconds
    buckets = run.server.store.query(run.server.selector(f"{ATTEMPTS}_bucket", task_name=run.task))
    by_bound = sorted((float(sample.labels["le"]), sample.value) for sample in buckets)
    assert [bound for bound, _ in by_bound] == [*SECONDS_BOUNDS, float("inf")]
    cumulative = [value for _, value in by_bound]
    assert cumulative == sorted(cumulative)
    assert cumulative[-1] == count


def test_a_gauge_is_one_series_that_ends_with_its_worker(run: Measured) -> None:
    assert run.seen["queue_depth"] == 3
    for name in ("app.queue_depth", BUSY):
        assert run.server.value(name, task_name=run.task) is None
        for suffix in ("bucket", "count", "sum"):
            selector = run.server.selector(f"{name}_{suffix}", task_name=run.task)
            assert run.server.store.series(selector) == []


def test_a_forged_label_is_dropped_with_a_warning(run: Measured) -> None:
    warned = [record for record in run.warnings if record["label_key"] == "task_name"]
    # Once for each executor that saw it: two slots, and the one that replaced a dead executor.
    assert 1 <= len(warned) <= 3
    assert {record["metric_name"] for record in warned} == {"app.upload_bytes"}
    assert {record["perago_label_value"] for record in warned} == {run.task}
    assert {record["ignored_user_label_value"] for record in warned} == {"forged"}


def test_slots_kills_and_restarts_make_no_series_and_lose_no_sample(
    server: Server, embedded: Conductor, tmp_path: Path
) -> None:
    run = Measured(server, Switches(attempts=True, workspace_io=True, worker_capacity=True))
    embedded.define(run.task)
    for slots in ("1", "3"):
        with run.worker(tmp_path, embedded, "-j", slots) as worker:
            for _ in range(3):
                assert run.run(embedded)["status"] == "COMPLETED"
                # A gauge of a dead process is not exported any more.
                until(lambda: server.value("app.queue_depth", task_name=run.task) == 3, "the gauge")
                victim = worker.executors()[0]
                os.kill(victim.pid, signal.SIGKILL)
                until(lambda: victim.pid not in {one.pid for one in worker.executors()}, "its end")  # noqa: B023
            assert worker.stop() == 0
        stored = [split(server, labels)[0] for labels in server.store.series(f'{{task_name="{run.task}"}}')]
        assert Counter(stored) == Counter(expected_series(run))
        assert server.value("app.audio_chunks_count", task_name=run.task) == run.bodies * len(CHUNKS)
        assert server.value(f"{ATTEMPTS}_count", task_name=run.task) == run.attempts


def test_names_are_those_of_the_server_s_mode(server: Server) -> None:
    names = set(server.store.get("/api/v1/label/__name__/values")["data"])
    expected = {
        "app.audio_chunks_bucket",
        "runtime.task_attempt_duration_seconds_count",
        "runtime.busy_slots",
    }
    assert {server.naming.shown(name) for name in expected} <= names
    if server.naming is Naming.PROMETHEUS:
        # Nothing is appended to a name: units are exported only where the name says them already.
        assert not {
            name for name in names if name.startswith("app_queue_depth") and name != "app_queue_depth"
        }
