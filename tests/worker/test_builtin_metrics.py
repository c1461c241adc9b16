"""What the supervisor measures of a task: switches, busy slots, attempts of every end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.metrics import MetricStore
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
    pushed = []
    for attempts_on in (True, False, True):
        variables = {**settings, "SUITE_SWITCHES": json.dumps({"attempts": attempts_on})}
        before = store.exported(attempts, task_name=task_name)
        with Worker(tmp_path, conductor.url, task_name, module="switched", **variables) as worker:
            assert conductor.wait(conductor.start(task_name, {}))["status"] == "COMPLETED"
            assert worker.stop() == 0
        if not attempts_on:
            assert store.exported(attempts, task_name=task_name) == before
        else:
            pushed.append(store.value(attempts, task_name=task_name))
    assert pushed == [1, 2]
    assert store.value("app.items_count", task_name=task_name) == 3


def test_busy_slots_and_attempts_are_right_after_deaths_of_executor_and_supervisor(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
    folder: Path,
) -> None:
    conductor.define(task_name, responseTimeoutSeconds=2, retryCount=3)
    attempts = "runtime.task_attempt_duration_seconds_count"

    def busy_is(expected: float | None) -> None:
        seen: list[float | None] = []

        def look() -> bool:
            seen[:] = [store.value("runtime.busy_slots", task_name=task_name)]
            return seen[0] == expected

        until(look, f"{expected} busy slots; there are {seen}")

    def measured(expected: float) -> None:
        until(lambda: store.value(attempts, task_name=task_name) == expected, f"{expected} attempts")

    with Worker(tmp_path, conductor.url, task_name, "-j", "2", module="switched", **settings) as worker:
        busy_is(0)
        conductor.start(task_name, {"folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        busy_is(1)
        # The body's executor dies: the slot is free again, and the attempt has lasted until then.
        for executor in worker.executors():
            os.kill(executor.pid, signal.SIGKILL)
        measured(1)
        (folder / "started").unlink(missing_ok=True)
        until(lambda: (folder / "started").exists(), "the retry's start")
        busy_is(1)
        # The supervisor dies with everything below it, and nobody ends its gauge.
        worker.signal(signal.SIGKILL)
        worker.wait()
        busy_is(1)
    (folder / "go").touch()
    with Worker(tmp_path, conductor.url, task_name, "-j", "2", module="switched", **settings) as worker:
        # The attempt of the dead supervisor times out; its retry ends, and only then is every slot free.
        until(lambda: (store.value(attempts, task_name=task_name) or 0) >= 2, "the last attempt")
        busy_is(0)
        assert len(store.query("runtime.busy_slots", task_name=task_name)) == 1
        assert worker.stop() == 0
    busy_is(None)


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
    assert store.value("runtime.task_attempt_duration_seconds_count", task_name=task_name) == 1
    assert (store.value("runtime.task_attempt_duration_seconds_sum", task_name=task_name) or 0) >= 1
    assert not store.query("runtime.busy_slots", task_name=task_name)
    conductor.terminate(run)


def test_two_workers_of_one_instance_id_have_series_of_their_own(
    conductor: Conductor, store: MetricStore, settings: dict[str, str], tmp_path: Path, task_name: str
) -> None:
    conductor.define(task_name)
    runs = {"embedded": 40, "real": 100}[conductor.kind]
    with (
        Worker(tmp_path / "a", conductor.url, task_name, "-j", "2", module="switched", **settings) as first,
        Worker(tmp_path / "b", conductor.url, task_name, "-j", "2", module="switched", **settings) as second,
    ):
        started = [conductor.start(task_name, {"count": 3}) for _ in range(runs)]
        for run in started:
            assert conductor.wait(run)["status"] == "COMPLETED"
        done = [len(worker.records("task_finished")) for worker in (first, second)]
        assert sum(done) == runs
        assert min(done) > 0, f"one worker did everything: {done}"
        assert [first.stop(), second.stop()] == [0, 0]
    series = store.query("app.items_count", task_name=task_name)
    assert sorted(one["value"] for one in series) == sorted(3 * count for count in done)
    assert len({one["labels"]["service.instance.id"] for one in series}) == 2
    assert store.value("app.items_sum", task_name=task_name) == 2 * 3 * runs
    attempts = store.query("runtime.task_attempt_duration_seconds_count", task_name=task_name)
    assert sorted(one["value"] for one in attempts) == sorted(done)
