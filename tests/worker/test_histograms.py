"""Buckets, slots that come and go, and more label sets than a worker exports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.conductor import Conductor
from support.metrics import MetricStore
from support.waiting import until
from support.worker import Worker

AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
EXPONENTIAL = {AGGREGATION: "base2_exponential_bucket_histogram"}
OVERFLOW = "otel.metric.overflow"

StartWorker = Callable[..., Worker]


@pytest.fixture
def conductor(embedded_url: str) -> Conductor:
    """The embedded engine: what is tested here is the way to the store."""
    return Conductor(f"{embedded_url}/api", "embedded")


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest) -> MetricStore:
    """Both stores, one after the other."""
    name = "real_victoria_metrics_url" if request.param == "real" else "embedded_url"
    return MetricStore(request.getfixturevalue(name))


@pytest.fixture
def start_worker(conductor: Conductor, store: MetricStore, tmp_path: Path, task_name: str) -> StartWorker:
    """Start workers one after the other on one state directory."""
    conductor.define(task_name)

    def start(slots: int = 1, **variables: str) -> Worker:
        settings = {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": store.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "PERAGO_INSTANCE_ID": f"suite-{task_name}-{os.getpid()}",
        }
        settings.update(variables)
        return Worker(tmp_path, conductor.url, task_name, "-j", str(slots), module="measured", **settings)

    return start


@pytest.fixture
def record(conductor: Conductor, task_name: str) -> Callable[..., dict[str, Any]]:
    """Run one attempt that records; return its result."""

    def run(**params: Any) -> dict[str, Any]:
        task = conductor.wait_task(conductor.start(task_name, params))
        assert task["status"] == "COMPLETED", task
        return dict(task["outputData"]["result"])

    return run


def buckets(store: MetricStore, name: str, label: str, **labels: str) -> dict[str, float]:
    """The buckets of a histogram by their bounds, without those that hold nothing and add nothing."""
    found = store.query(f"{name}_bucket", **labels)
    return {one["labels"][label]: one["value"] for one in found if label in one["labels"]}


def counted(store: MetricStore, name: str, expected: int, **labels: str) -> None:
    """Wait until the store shows so many values of a histogram: it takes a push before it shows it."""

    def is_shown() -> bool:
        return store.value(f"{name}_count", **labels) == expected

    until(is_shown, f"{expected} values of {name}")


def test_bounds_of_the_author_s_own_and_a_change_of_them(
    store: MetricStore, start_worker: StartWorker, record: Callable[..., Any], task_name: str
) -> None:
    own = {"calls": [1, 10, 100], "runtime.task_attempt_duration_seconds": [0.5, 3600]}
    with start_worker(SUITE_BUCKETS=json.dumps(own)) as worker:
        record(values={"calls": [0.5, 10, 11, 1000], "waits_seconds": [2]})
        assert worker.stop() == 0
    counted(store, "app.calls", 4, task_name=task_name)
    assert buckets(store, "app.calls", "le", task_name=task_name) == {"1": 1, "10": 2, "100": 3, "+Inf": 4}
    attempts = buckets(store, "runtime.task_attempt_duration_seconds", "le", task_name=task_name)
    assert set(attempts) == {"0.5", "3600", "+Inf"}
    assert "21600" in buckets(store, "app.waits_seconds", "le", task_name=task_name)
    with start_worker(SUITE_BUCKETS=json.dumps({"calls": [5, 50, 100]})) as worker:
        record(values={"calls": [60]})
        assert worker.stop() == 0
    counted(store, "app.calls", 5, task_name=task_name)
    now = buckets(store, "app.calls", "le", task_name=task_name)
    # 1 and below went to 5, 10 to 50, 100 stayed.
    assert {bound: now[bound] for bound in ("5", "50", "100", "+Inf")} == {
        "5": 1,
        "50": 2,
        "100": 4,
        "+Inf": 5,
    }
    assert store.value("app.calls_sum", task_name=task_name) == 1081.5


def test_exponential_histograms_and_the_change_to_and_from_them(
    store: MetricStore, start_worker: StartWorker, record: Callable[..., Any], task_name: str
) -> None:
    with start_worker(**EXPONENTIAL) as worker:
        record(values={"calls": [0, 1, 1.1, 1.25, 3e10], "read_bytes": [4096], "waits_seconds": [0.000001]})
        assert worker.stop() == 0
    counted(store, "app.calls", 5, task_name=task_name)
    ranges = buckets(store, "app.calls", "vmrange", task_name=task_name)
    assert ranges == {
        "0.000e+00...9.766e-04": 1,
        "8.409e-01...1.000e+00": 1,
        "1.000e+00...1.189e+00": 1,
        "1.189e+00...1.414e+00": 1,
        "1.074e+09...1.277e+09": 1,
    }
    read = buckets(store, "app.read_bytes", "vmrange", task_name=task_name)
    assert read == {"3.444e+03...4.096e+03": 1}
    waits = buckets(store, "app.waits_seconds", "vmrange", task_name=task_name)
    assert waits == {"0.000e+00...7.629e-06": 1}
    with start_worker() as worker:
        record(values={"calls": [7]})
        assert worker.stop() == 0
    counted(store, "app.calls", 6, task_name=task_name)
    explicit = buckets(store, "app.calls", "le", task_name=task_name)
    assert (explicit["0.005"], explicit["1"], explicit["2.5"], explicit["10"]) == (1, 2, 4, 5)
    assert (explicit["1000000"], explicit["+Inf"]) == (5, 6)
    with start_worker(**EXPONENTIAL) as worker:
        record(values={"calls": [1]})
        assert worker.stop() == 0
    counted(store, "app.calls", 7, task_name=task_name)
    assert store.value("app.calls_sum", task_name=task_name) == 30000000011.35
    # One more than 1 at or below it, counted in the same range as before.
    assert buckets(store, "app.calls", "vmrange", task_name=task_name)["8.409e-01...1.000e+00"] == 2


def test_totals_and_series_stay_when_slots_go(
    store: MetricStore, start_worker: StartWorker, record: Callable[..., Any], tmp_path: Path, task_name: str
) -> None:
    attempts = 0
    series = 0
    for slots in (4, 2, 1):
        with start_worker(slots) as worker:
            for _ in range(slots):
                record(values={"calls": [1]})
            attempts += slots

            def gauge_is_shown() -> bool:
                return bool(store.query("app.last_slot", task_name=task_name))

            until(gauge_is_shown, "the gauge of a slot")
            arenas = sorted(path.name for path in (tmp_path / "state").rglob("slot-*.arena"))
            assert arenas == [f"slot-{slot:04}.arena" for slot in range(1, slots + 1)]
            assert worker.stop() == 0
        until(lambda: not store.query("app.last_slot", task_name=task_name), "the end of the gauges")
        counted(store, "app.calls", attempts, task_name=task_name)
        counted(store, "runtime.task_attempt_duration_seconds", attempts, task_name=task_name)
        found = len(store.query("app.calls_bucket", task_name=task_name))
        assert series in (0, found)
        series = found
    assert not worker.records("metrics_not_folded")


def test_fifty_thousand_label_sets(
    store: MetricStore, start_worker: StartWorker, record: Callable[..., Any], task_name: str
) -> None:
    with start_worker() as worker:
        (supervisor,) = [process for process in worker.processes() if process.pid == worker.process.pid]
        before = resident_kibibytes(supervisor.pid)
        first = record(label_sets=50_000)
        worker.wait_record("metric_label_sets_exceeded")
        # A key in overflow stays there, and is not warned about again within the minute.
        second = record(label_sets=50_000)
        executor_grew = second["kibibytes"] - first["kibibytes_before"]
        supervisor_grew = resident_kibibytes(supervisor.pid) - before
        assert worker.stop() == 0
    counted(store, "app.requests", 100_000, task_name=task_name)
    assert store.value("app.requests_count", task_name=task_name, **{OVERFLOW: "true"}) == 98_002
    assert store.value("app.requests_count", task_name=task_name, user="user-0") == 2
    assert store.query("app.requests_count", task_name=task_name, user="user-49999") == []
    assert len(store.query("app.requests_count", task_name=task_name)) == 1_000
    assert store.value("app.steady_count", task_name=task_name) == 100_000
    assert store.value("app.steady_sum", task_name=task_name) == 200_000
    (warning,) = worker.records("metric_label_sets_exceeded")
    assert (warning["metric_name"], warning["label_key"], warning["limit"]) == ("app.requests", "user", 1_000)
    assert not [line for line in worker.records(source="perago.metrics") if "label_sets" in str(line)]
    # In kibibytes; 50,000 label sets that are kept take more than that many times over.
    assert executor_grew < 10_000, (first, second)
    assert supervisor_grew < 10_000, supervisor_grew


def test_what_the_last_push_finds_is_logged(start_worker: StartWorker, record: Callable[..., Any]) -> None:
    with start_worker(OTEL_METRIC_EXPORT_INTERVAL="600000", PERAGO_METRIC_LABEL_SETS="10") as worker:
        record(label_sets=20)
        assert worker.stop() == 0
    (warning,) = worker.records("metric_label_sets_exceeded")
    # One of the ten is the gauge's.
    assert (warning["limit"], warning["samples"], warning["label_key"]) == (10, 11, "user")


def resident_kibibytes(pid: int) -> int:
    """Memory that a process has in use."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0])
