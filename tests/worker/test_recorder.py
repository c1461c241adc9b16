"""The recorder in the body of a real worker: nothing is lost, and no content fails the attempt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.metrics import MetricStore
from support.waiting import until
from support.worker import Worker

THREADS = 8
SAMPLES = 2_000
SUM = SAMPLES * (SAMPLES - 1) // 2


class Recording:
    """A worker of the recording task, and the receiver of its metrics."""

    def __init__(self, conductor: Conductor, worker: Worker, store: MetricStore, task: str) -> None:
        self.conductor = conductor
        self.worker = worker
        self.store = store
        self.task = task

    def run(self, action: str, **params: str) -> None:
        """Run the body once, and complete."""
        attempt = self.conductor.wait_task(self.conductor.start(self.task, {"action": action, **params}))
        assert attempt["status"] == "COMPLETED", attempt

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum over the series of a metric, as exported last."""
        return self.store.value(name, task_name=self.task, **labels)

    def until(self, name: str, expected: float, **labels: str) -> None:
        """Wait until a metric has arrived with this value."""

        def arrived() -> bool:
            seen = self.value(name, **labels)
            assert seen is None or seen <= expected, f"{name} is {seen}, more than {expected}"
            return seen == expected

        until(arrived, f"{name} {labels} = {expected}")

    def is_recorded(self, times: int) -> None:
        """Wait for the totals of `times` recording threads or processes with one number each."""
        self.until("app.by_number_count", THREADS * SAMPLES)
        self.until("app.items_count", times * SAMPLES)
        self.until("app.items_sum", times * SUM)
        self.until("app.blocks_count", times * SAMPLES)
        for number in range(THREADS):
            labels = {"number": str(number)}
            self.until("app.by_number_count", SAMPLES, kind="constant", **labels)
            self.until("app.last", SAMPLES - 1, **labels)


@pytest.fixture(params=[("-j", "2"), ("-j", "2", "--execution-mode", "thread")], ids=["process", "thread"])
def recording(
    conductor: Conductor, embedded_url: str, tmp_path: Path, task_name: str, request: pytest.FixtureRequest
) -> Iterator[Recording]:
    conductor.define(task_name)
    store = MetricStore(embedded_url)
    settings = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": store.endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "PERAGO_INSTANCE_ID": f"recorder-{tmp_path.name}-{os.getpid()}",
    }
    with Worker(
        tmp_path / "worker", conductor.url, task_name, *request.param, module="recording", **settings
    ) as worker:
        yield Recording(conductor, worker, store, task_name)


def test_eight_threads_of_a_body_lose_nothing(recording: Recording) -> None:
    recording.run("threads")
    recording.is_recorded(THREADS)


def test_a_fork_pool_of_eight_in_a_body_loses_nothing(recording: Recording) -> None:
    recording.run("fork_pool")
    recording.is_recorded(THREADS)
    assert recording.worker.records(level="ERROR") == []


def test_a_body_can_end_the_processes_that_it_starts(recording: Recording) -> None:
    recording.run("program")
    for _ in range(5):
        recording.run("fork_pool")


def test_a_thread_that_outlives_its_body_is_counted(recording: Recording, folder: Path) -> None:
    recording.run("outlive", folder=str(folder))
    assert recording.value("app.items_count") is None
    (folder / "go").touch()
    until((folder / "recorded").exists, "the thread's end")
    recording.until("app.items_count", SAMPLES)
    assert recording.value("app.items_sum") == SUM


def test_tasks_of_an_event_loop_are_timed_each(recording: Recording) -> None:
    recording.run("tasks")
    recording.until("app.calls_count", SAMPLES)
    recording.until("app.blocks_count", 2 * SAMPLES)


def test_bad_content_neither_fails_the_attempt_nor_spoils_the_export(recording: Recording) -> None:
    for _ in range(2):
        recording.run("bad")
    good, texts = 4 + 5 + 8 + 9, 8
    recording.until("app.good_count", 2 * good)
    recording.until("app.texts_count", 2 * texts)
    assert recording.store.query("app.items_count", task_name=recording.task) == []
    (depth,) = recording.store.query("app.depth", task_name=recording.task)
    assert depth["value"] == -1
    shown = {
        series["labels"].get("k")
        for series in recording.store.query("app.texts_count", task_name=recording.task)
    }
    assert shown == {"true", "1", None, "YWI=", "[1]", '{"a":1}', "Unshown", "\ufffd" * 3}
    warned = {
        (record["metric_name"], record["reason"])
        for record in recording.worker.records(source="perago.metrics")
    }
    assert warned >= {
        ("app.items", "value_not_finite"),
        ("app.items", "value_negative"),
        ("app.depth", "value_not_finite"),
        ("a b", "invalid_name"),
        ("app.good_count", "series_clash"),
        ("app.good", "reserved_label"),
        ("app.good", "empty_label_key"),
        ("app.good", "kind_clash"),
        ("app.texts", "label_converted"),
        ("app.texts", "labels_too_long"),
    }
    assert recording.worker.records("metrics_push_failed") == []
    assert recording.worker.records("metrics_partly_rejected") == []
