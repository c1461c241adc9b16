"""What the supervisor measures of a task: switches, busy slots, attempts of every end."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.metrics import MetricStore, value_is
from support.waiting import until
from support.worker import Worker

HISTOGRAM = ("_bucket", "_count", "_sum")
OWN = {f"app.items{suffix}" for suffix in HISTOGRAM}
ATTEMPTS = {f"runtime.task_attempt_duration_seconds{suffix}" for suffix in HISTOGRAM}
CAPACITY = {"runtime.busy_slots"}


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, OWN | ATTEMPTS | CAPACITY),
        ({"attempts": False}, OWN | CAPACITY),
        ({"worker_capacity": False}, OWN | ATTEMPTS),
        ({"workspace_io": False}, OWN | ATTEMPTS | CAPACITY),
        ({"attempts": False, "workspace_io": False, "worker_capacity": False}, OWN),
    ],
)
def test_each_switch_removes_exactly_its_series(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
    switches: dict[str, bool],
    expected: set[str],
) -> None:
    conductor.define(task_name)
    variables = {**settings, "SUITE_SWITCHES": json.dumps(switches)}
    with Worker(tmp_path, conductor.url, task_name, module="switched", **variables) as worker:
        assert conductor.wait(conductor.start(task_name, {}))["status"] == "COMPLETED"
        until(lambda: set(store.names(task_name=task_name)) == expected, f"{expected}")
        assert worker.stop() == 0
    until(lambda: set(store.names(task_name=task_name)) == expected - CAPACITY, "the end of the gauge")


def test_a_switch_turned_off_later_hides_its_totals_and_loses_none(
    conductor: Conductor, store: MetricStore, settings: dict[str, str], tmp_path: Path, task_name: str
) -> None:
    """Totals of a switched-off metric stay in their file and go on when it is switched on again."""
    conductor.define(task_name)
    attempts = "runtime.task_attempt_duration_seconds_count"
    times = []
    for run, attempts_on in enumerate((True, False, True), 1):
        variables = {**settings, "SUITE_SWITCHES": json.dumps({"attempts": attempts_on})}
        times.append(time.time() * 1000)
        with Worker(tmp_path, conductor.url, task_name, module="switched", **variables) as worker:
            assert conductor.wait(conductor.start(task_name, {}))["status"] == "COMPLETED"
            assert worker.stop() == 0
        value_is(store, run, "app.items_count", task_name=task_name)
    value_is(store, 2, attempts, task_name=task_name)
    (series,) = store.exported(attempts, task_name=task_name)
    assert not [pushed for pushed in series["timestamps"] if times[1] <= pushed < times[2]]


def test_busy_slots_and_attempts_are_right_after_deaths_of_executor_and_supervisor(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
    folder: Path,
) -> None:
    conductor.define(task_name)
    attempts = "runtime.task_attempt_duration_seconds_count"
    task = {"task_name": task_name}

    def start_body() -> str:
        (folder / "started").unlink(missing_ok=True)
        run = conductor.start(task_name, {"folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        return run

    with Worker(tmp_path, conductor.url, task_name, "-j", "1", module="switched", **settings) as worker:
        value_is(store, 0, "runtime.busy_slots", **task)
        run = start_body()
        value_is(store, 1, "runtime.busy_slots", **task)
        # The body's executor dies: the slot is free again, and the attempt has lasted until then.
        for executor in worker.executors():
            os.kill(executor.pid, signal.SIGKILL)
        assert conductor.wait_task(run)["status"] == "FAILED"
        value_is(store, 1, attempts, **task)
        value_is(store, 0, "runtime.busy_slots", **task)
        # The supervisor dies with everything below it, and nobody ends its gauge.
        run = start_body()
        value_is(store, 1, "runtime.busy_slots", **task)
        worker.signal(signal.SIGKILL)
        worker.wait()
    # Else the successor would give it back and run it.
    conductor.terminate(run)
    with Worker(tmp_path, conductor.url, task_name, "-j", "1", module="switched", **settings) as worker:
        value_is(store, 0, "runtime.busy_slots", **task)
        assert conductor.wait(conductor.start(task_name, {}))["status"] == "COMPLETED"
        value_is(store, 2, attempts, **task)
        assert len(store.query("runtime.busy_slots", **task)) == 1
        assert worker.stop() == 0
    value_is(store, None, "runtime.busy_slots", **task)


def test_an_attempt_that_is_given_up_is_measured_too(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
    folder: Path,
) -> None:
    conductor.define(task_name, retryCount=3)
    variables = {**settings, "PERAGO_SHUTDOWN_FORCE_KILL_AFTER": "1s"}
    with Worker(tmp_path, conductor.url, task_name, module="switched", **variables) as worker:
        run = conductor.start(task_name, {"folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        assert worker.stop() == 4
    value_is(store, 1, "runtime.task_attempt_duration_seconds_count", task_name=task_name)
    assert (store.value("runtime.task_attempt_duration_seconds_sum", task_name=task_name) or 0) >= 0.75
    value_is(store, None, "runtime.busy_slots", task_name=task_name)
    conductor.terminate(run)


def test_two_workers_of_one_instance_id_have_series_of_their_own(
    conductor: Conductor, store: MetricStore, settings: dict[str, str], tmp_path: Path, task_name: str
) -> None:
    conductor.define(task_name)
    wanted = {"embedded": 40, "real": 100}[conductor.kind]
    with (
        Worker(tmp_path / "a", conductor.url, task_name, "-j", "2", module="switched", **settings) as first,
        Worker(tmp_path / "b", conductor.url, task_name, "-j", "2", module="switched", **settings) as second,
    ):
        done = [0, 0]

        def both_have_done_some() -> bool:
            started = [conductor.start(task_name, {"count": 3}) for _ in range(wanted)]
            for run in started:
                assert conductor.wait(run)["status"] == "COMPLETED"
            done[:] = [len(worker.records("task_finished")) for worker in (first, second)]
            return min(done) > 0

        until(both_have_done_some, "work for both")
        runs = sum(done)
        assert [first.stop(), second.stop()] == [0, 0]
    value_is(store, 3 * runs, "app.items_count", task_name=task_name)
    series = store.query("app.items_count", task_name=task_name)
    assert sorted(one["value"] for one in series) == sorted(3 * count for count in done)
    assert len({one["labels"]["service.instance.id"] for one in series}) == 2
    value_is(store, 2 * 3 * runs, "app.items_sum", task_name=task_name)
    value_is(store, runs, "runtime.task_attempt_duration_seconds_count", task_name=task_name)
    attempts = store.query("runtime.task_attempt_duration_seconds_count", task_name=task_name)
    assert sorted(one["value"] for one in attempts) == sorted(done)
