"""PERAGO_WORKER_METRICS: what a worker tells of itself, for any task."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.processes import start_victoria_metrics, victoria_metrics_health
from support.command import CommandLine
from support.conductor import Conductor
from support.metrics import MetricStore, value_is
from support.proxy import Answer, Drop, Exchange, Proxy
from support.waiting import SLACK_SECONDS, until
from support.worker import MODULES, Worker

MOST_SERIES = 60
POLL_SECONDS = 1.0
ALWAYS = {
    "perago.attempts_total",
    "perago.build_info",
    "perago.busy_slots",
    "perago.dropped_samples_total",
    "perago.executor_restarts_total",
    "perago.failed_pushes_total",
    "perago.oldest_undelivered_result_age_seconds",
    "perago.poll_errors_total",
    "perago.slots",
    "perago.state_directory_free_bytes",
    "perago.undelivered_results",
    "perago.workspace_bytes_total",
}


@pytest.fixture
def worker_settings(settings: dict[str, str]) -> dict[str, str]:
    """The settings of an exporting worker that tells of itself."""
    return {**settings, "PERAGO_WORKER_METRICS": "1"}


def worker_names(store: MetricStore, task_name: str) -> dict[str, int]:
    names = store.names(task_name=task_name)
    return {name: count for name, count in names.items() if name.startswith("perago.")}


def test_a_task_without_metrics_has_them_and_they_are_few(
    conductor: Conductor,
    store: MetricStore,
    worker_settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
) -> None:
    conductor.define(task_name)
    task = {"task_name": task_name}
    with Worker(tmp_path, conductor.url, task_name, "-j", "3", **worker_settings) as worker:
        value_is(store, 3, "perago.slots", **task)
        until(lambda: set(worker_names(store, task_name)) == ALWAYS, "every metric of the worker")
        assert set(store.names(**task)) == ALWAYS, "nothing but metrics of the worker"
        for action, parameters in [
            ("echo", {}),
            ("echo", {}),
            ("failed", {}),
            ("terminal", {}),
            ("raise", {}),
            ("exit", {"number": 3}),
            ("signal", {"number": int(signal.SIGKILL)}),
        ]:
            run = conductor.start(task_name, {"action": action, "folder": str(tmp_path), **parameters})
            conductor.wait(run)
        value_is(store, 2, "perago.attempts_total", outcome="completed", **task)
        for code in ("task_failed", "body_raised", "executor_exited", "executor_killed"):
            value_is(store, 1, "perago.attempts_total", outcome="failed", failure_code=code, **task)
        terminal = {"outcome": "failed_terminally", "failure_code": "task_terminal"}
        value_is(store, 1, "perago.attempts_total", **terminal, **task)
        value_is(store, 1, "perago.executor_restarts_total", cause="exited", **task)
        value_is(store, 1, "perago.executor_restarts_total", cause="killed", **task)
        assert sum(worker_names(store, task_name).values()) <= MOST_SERIES
        assert (store.value("perago.state_directory_free_bytes", **task) or 0) > 0
        (info,) = store.query("perago.build_info", **task)
        assert (info["value"], info["labels"]["operating_system"]) == (1, "linux")
        assert worker.stop() == 0
    value_is(store, 2, "perago.attempts_total", outcome="completed", **task)
    with Worker(tmp_path, conductor.url, task_name, "-j", "3", **worker_settings) as worker:
        conductor.wait(conductor.start(task_name, {"action": "echo"}))
        # Totals go on over restarts like those of the task.
        value_is(store, 3, "perago.attempts_total", outcome="completed", **task)
        value_is(store, 1, "perago.executor_restarts_total", cause="killed", **task)
        assert worker.stop() == 0
    # Gauges end with the worker.
    value_is(store, None, "perago.slots", **task)


def test_the_series_of_a_task_are_the_same_with_and_without_them(
    conductor: Conductor,
    store: MetricStore,
    settings: dict[str, str],
    worker_settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
) -> None:
    conductor.define(task_name)
    task = {"task_name": task_name}
    seen = []
    for variables in (settings, worker_settings, settings):
        with Worker(tmp_path, conductor.url, task_name, module="switched", **variables) as worker:
            conductor.wait(conductor.start(task_name, {}))
            count = len(seen) + 1
            value_is(store, count, "app.items_count", **task)
            value_is(store, count, "runtime.task_attempt_duration_seconds_count", **task)
            names = store.names(**task)
            seen.append({name: n for name, n in names.items() if not name.startswith("perago.")})
            if variables is worker_settings:
                # The body's negative value of this run and of the one before, which was only counted.
                value_is(store, 2, "perago.dropped_samples_total", reason="value_negative", **task)
            assert worker.stop() == 0
    assert seen[0] == seen[1] == seen[2]


def test_a_server_that_is_gone_shows_in_polls_and_results(
    conductor: Conductor,
    store: MetricStore,
    proxy: Proxy,
    worker_settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
    folder: Path,
) -> None:
    conductor.define(task_name)
    task = {"task_name": task_name}
    with Worker(tmp_path, proxy.url, task_name, "-j", "2", **worker_settings) as worker:
        value_is(store, 0, "perago.poll_errors_total", **task)
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        value_is(store, 1, "perago.busy_slots", **task)
        proxy.cut()
        (folder / "go").touch()
        value_is(store, 1, "perago.undelivered_results", **task)
        age = "perago.oldest_undelivered_result_age_seconds"
        until(lambda: (store.value(age, **task) or 0) > 1, "a result that grows old")
        until(lambda: (store.value("perago.poll_errors_total", **task) or 0) >= 1, "a poll that failed")
        assert store.value("perago.busy_slots", **task) == 1
        proxy.restore()
        assert conductor.wait(run)["status"] == "COMPLETED"
        value_is(store, 0, "perago.undelivered_results", **task)
        value_is(store, 0, age, **task)
        value_is(store, 0, "perago.busy_slots", **task)
        assert worker.stop() == 0


@pytest.fixture
def receiver(store: MetricStore) -> Iterator[Proxy]:
    """What stands before the store."""
    with Proxy(store.url) as proxy:
        yield proxy


def test_pushes_that_fail_are_counted_and_logged_and_lose_nothing(
    conductor: Conductor,
    store: MetricStore,
    receiver: Proxy,
    worker_settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
) -> None:
    conductor.define(task_name)
    endpoint = f"{receiver.url}/opentelemetry/v1/metrics"
    variables = {**worker_settings, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint}
    refused: list[int] = []

    def refuse(exchange: Exchange) -> Answer | None:
        refused.append(1)
        return Answer(500, b"not now")

    with Worker(tmp_path, conductor.url, task_name, module="switched", **variables) as worker:
        value_is(store, 0, "perago.failed_pushes_total", task_name=task_name)
        receiver.before = refuse
        conductor.wait(conductor.start(task_name, {}))
        until(lambda: len(refused) >= 3, "three refused pushes")
        receiver.before = lambda _: None
        until(
            lambda: (store.value("perago.failed_pushes_total", task_name=task_name) or 0) >= 3,
            "the count of failed pushes",
        )
        value_is(store, 1, "app.items_count", task_name=task_name)
        failed = worker.wait_record("metrics_push_failed")
        assert "answered 500: not now" in failed["message"]
        assert len(worker.records("metrics_push_failed")) == 1, "the first of a row, then one a minute"
        assert worker.wait_record("metrics_push_recovered")["failed_pushes"] == len(refused)
        assert worker.stop() == 0


def test_a_series_that_the_receiver_refuses_holds_up_no_other(
    conductor: Conductor,
    store: MetricStore,
    receiver: Proxy,
    settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
) -> None:
    conductor.define(task_name)
    endpoint = f"{receiver.url}/opentelemetry/v1/metrics"
    variables = {**settings, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint}
    receiver.before = lambda exchange: Answer(400, b"bad") if b"app.items" in exchange.body else None
    with Worker(tmp_path, conductor.url, task_name, module="switched", **variables) as worker:
        conductor.wait(conductor.start(task_name, {"labels": 5}))
        value_is(store, 5, "app.labelled_count", task_name=task_name)
        rejected = worker.wait_record("metric_rejected")
        assert rejected["metric_name"] == "app.items"
        assert rejected["labels"] == f'task_name="{task_name}"'
        assert worker.stop() == 0
    assert not store.query("app.items_count", task_name=task_name)


@pytest.mark.parametrize("deadline", [None, "1s"])
def test_a_receiver_that_hangs_holds_a_stop_no_longer_than_allowed(
    conductor: Conductor,
    receiver: Proxy,
    settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
    folder: Path,
    deadline: str | None,
) -> None:
    conductor.define(task_name, retryCount=3)
    endpoint = f"{receiver.url}/opentelemetry/v1/metrics"
    variables = {**settings, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint}
    if deadline is not None:
        variables["PERAGO_SHUTDOWN_FORCE_KILL_AFTER"] = deadline
    hangs = threading.Event()

    def hang(_: Exchange) -> Answer | None:
        hangs.wait(60)
        raise Drop

    receiver.before = hang
    try:
        with Worker(tmp_path, conductor.url, task_name, module="switched", **variables) as worker:
            run = conductor.start(task_name, {} if deadline is None else {"folder": str(folder)})
            if deadline is None:
                assert conductor.wait(run)["status"] == "COMPLETED"
            else:
                until(lambda: (folder / "started").exists(), "the body's start")
            told = worker.signal()
            assert worker.wait() == (0 if deadline is None else 4)
            took = time.monotonic() - told
            # The poll in flight and the flush, or the deadline and what it leaves to the flush.
            assert took <= (POLL_SECONDS + 2 if deadline is None else 1 + 0.5) + SLACK_SECONDS
            assert worker.records("metrics_last_push_failed")
    finally:
        hangs.set()


def test_without_an_endpoint_start_says_what_is_missing(
    conductor: Conductor, tmp_path: Path, task_name: str
) -> None:
    line = CommandLine(tmp_path)
    variables = {
        "PERAGO_WORKER_METRICS": "1",
        "CONDUCTOR_SERVER_URL": conductor.url,
        "SUITE_TASK": task_name,
        "PYTHONPATH": str(MODULES),
    }
    ran = line.run("start", "scenario", **variables)
    assert ran.code != 0
    assert "PERAGO_WORKER_METRICS=1 needs OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" in ran.stderr
    checked = line.run("check", "scenario", **variables)
    assert checked.code == 0
    assert "PERAGO_WORKER_METRICS needs OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" in checked.stderr


def test_an_executor_that_is_killed_while_idle_is_a_restart_and_no_attempt(
    conductor: Conductor,
    store: MetricStore,
    worker_settings: dict[str, str],
    tmp_path: Path,
    task_name: str,
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, **worker_settings) as worker:
        (victim,) = worker.executors()
        os.kill(victim.pid, signal.SIGKILL)
        value_is(store, 1, "perago.executor_restarts_total", cause="killed", task_name=task_name)
        value_is(store, 0, "perago.attempts_total", task_name=task_name)
        assert worker.stop() == 0


@pytest.mark.services
@pytest.mark.parametrize("arguments", [(), ("-opentelemetry.usePrometheusNaming",)])
def test_no_naming_mode_of_the_store_appends_to_a_name(
    embedded_url: str, tmp_path: Path, task_name: str, arguments: tuple[str, ...]
) -> None:
    conductor = Conductor(f"{embedded_url}/api", "embedded")
    conductor.define(task_name)
    service = start_victoria_metrics(tmp_path / "store", 0, *arguments)
    try:
        service.wait_until_ready(victoria_metrics_health(service))
        store = MetricStore(service.url)
        variables = {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": store.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "PERAGO_INSTANCE_ID": "naming",
            "PERAGO_WORKER_METRICS": "1",
        }
        expected = ALWAYS if not arguments else {name.replace(".", "_") for name in ALWAYS}
        with Worker(tmp_path, conductor.url, task_name, **variables) as worker:
            conductor.wait(conductor.start(task_name, {"action": "echo"}))
            attempts = next(name for name in expected if name.endswith("attempts_total"))
            value_is(store, 1, attempts, outcome="completed", task_name=task_name)
            assert set(store.names(task_name=task_name)) == expected
            assert worker.stop() == 0
    finally:
        service.stop()
