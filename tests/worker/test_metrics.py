"""From a recorder call in a body to a series in the store."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from support.conductor import Conductor
from support.metrics import MetricStore, value_is
from support.waiting import until
from support.worker import Worker

EXAMPLES = str(Path(__file__).resolve().parents[2] / "examples")
RESOURCE = {"service.name", "service.instance.id", "service_name", "service_instance_id", "job", "instance"}
# The embedded engine proves the same with fewer.
WORKFLOWS = {"embedded": 20, "real": 500}


def own_labels(labels: dict[str, str]) -> dict[str, str]:
    """Labels without the store's own, the bucket bounds and the resource."""
    dropped = RESOURCE | {"__name__", "le"}
    return {
        name: value
        for name, value in labels.items()
        if name not in dropped and not name.startswith("telemetry")
    }


def run_many(conductor: Conductor, count: int) -> None:
    params = {"song_id": "s", "min_duration_seconds": 1}
    runs = [conductor.start("metadata.validate", params) for _ in range(count)]
    for run in runs:
        workflow = conductor.wait(run)
        assert workflow["status"] == "COMPLETED"
        assert workflow["tasks"][-1]["outputData"] == {"result": {"valid": True}}


@pytest.mark.timeout(600)
def test_every_item_is_counted_and_totals_go_on_after_a_restart(
    conductor: Conductor, store: MetricStore, settings: dict[str, str], tmp_path: Path
) -> None:
    conductor.define("metadata.validate")
    workflows = WORKFLOWS[conductor.kind]
    before = store.value("app.checked_items_count", task_name="metadata.validate") or 0

    def counted(expected: int, name: str = "app.checked_items_count") -> None:
        seen = before if name == "app.checked_items_count" else 0

        def complete() -> bool:
            return (store.value(name, task_name="metadata.validate") or 0) - seen == expected

        until(complete, f"{name} = {expected}; it is {store.query(name, task_name='metadata.validate')}")

    for restart in (1, 2):
        with Worker(
            tmp_path, conductor.url, "metadata.validate", "-j", "2", module="metadata_validate",
            PYTHONPATH=EXAMPLES, **settings,
        ) as worker:  # fmt: skip
            run_many(conductor, workflows)
            assert worker.stop() == 0
        counted(workflows * restart)
    series = store.query("app.checked_items_count", task_name="metadata.validate")
    mine = [one for one in series if one["value"] == 2 * workflows]
    assert len(mine) == 1
    assert own_labels(mine[0]["labels"]) == {"task_name": "metadata.validate"}


def test_names_and_labels_are_those_of_the_page(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    tmp_path: Path,
    folder: Path,
    task_name: str,
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, "-j", "2", module="labelled", **settings) as worker:

        def labels_of(name: str) -> dict[str, str]:
            (one,) = until(lambda: store.query(name, task_name=task_name), name)
            return own_labels(one["labels"])

        capacity = {"task_name": task_name, "perago_instance_id": settings["PERAGO_INSTANCE_ID"]}
        until(lambda: store.value("runtime.busy_slots", **capacity) == 0.0, "an idle gauge")
        run = conductor.start(task_name, {"folder": str(folder)})
        until(lambda: store.value("runtime.busy_slots", **capacity) == 1.0, "a busy slot")
        assert labels_of("runtime.busy_slots") == capacity
        (folder / "go").touch()
        assert conductor.wait(run)["status"] == "COMPLETED"
        failed: Any = conductor.wait_task(conductor.start(task_name, {"fail": True}))
        assert failed["status"] == "FAILED"
        attempts = "runtime.task_attempt_duration_seconds_count"
        until(
            lambda: store.value(attempts, task_name=task_name) == 2, "both attempts, whatever their outcome"
        )
        assert labels_of(attempts) == {"task_name": task_name}
        assert labels_of("app.queue_depth") == {"task_name": task_name}
        assert store.value("app.queue_depth", task_name=task_name) == 3
        chunks = {"task_name": task_name, "stage": "decode", "format": "wav"}
        assert labels_of("app.audio_chunks_sum") == chunks
        assert store.value("app.audio_chunks_sum", **chunks) == 24
        assert store.value("app.audio_chunks_count", **chunks) == 2
        assert labels_of("app.model_call_count") == {"task_name": task_name, "provider": "openai"}
        warnings = worker.records(source="perago.metrics")
        warned = {(record["metric_name"], record["label_key"]): record for record in warnings}
        assert warned["app.model_call", "task_name"]["perago_label_value"] == task_name
        assert warned["app.model_call", "task_name"]["ignored_user_label_value"] == "forged"
        assert warned["app.model_call", "worker_id"]["perago_label_value"] == "<reserved>"
        assert worker.stop() == 0
    # Gauges end with their worker, totals stay.
    until(lambda: not store.query("runtime.busy_slots", task_name=task_name), "the end of the gauge")
    assert store.value("app.audio_chunks_count", **chunks) == 2


def test_a_gauge_set_shortly_before_the_stop_is_exported(
    conductor: Conductor, store: MetricStore, settings: dict[str, str], tmp_path: Path, task_name: str
) -> None:
    conductor.define(task_name)
    never = {**settings, "OTEL_METRIC_EXPORT_INTERVAL": "600000"}
    with Worker(tmp_path, conductor.url, task_name, module="labelled", **never) as worker:
        assert conductor.wait(conductor.start(task_name, {}))["status"] == "COMPLETED"
        assert worker.stop() == 0
    (series,) = until(lambda: store.exported("app.queue_depth", task_name=task_name), "the only push")
    assert [value for value in series["values"] if value is not None] == [3]
    # The gauge has ended with its worker.
    value_is(store, None, "app.queue_depth", task_name=task_name)


def test_series_and_totals_survive_a_killed_executor(
    conductor: Conductor, store: MetricStore, settings: dict[str, str], tmp_path: Path, task_name: str
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, module="labelled", **settings) as worker:
        for count in (1, 2):
            assert conductor.wait(conductor.start(task_name, {}))["status"] == "COMPLETED"

            def both(count: int = count) -> bool:
                return store.value("app.audio_chunks_count", task_name=task_name) == count

            until(both, f"{count} samples")
            (victim,) = worker.executors()
            os.kill(victim.pid, signal.SIGKILL)
            until(lambda: victim not in worker.executors(), "its end")  # noqa: B023 - called at once
        assert len(store.query("app.audio_chunks_count", task_name=task_name)) == 1
