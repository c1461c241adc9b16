"""A store that is gone or hangs: nothing is lost, and the worker ends by its deadline."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.proxy import Answer, Exchange, Proxy
from support.waiting import SLACK_SECONDS, until

from .campaign import Plan
from .outage import BREAKS, Outage, worker_on
from .stores import OwnVictoriaMetrics, WholeStore

POLL_SECONDS = 0.2
FLUSH_SECONDS = 2.0
# What is given to the last push once the deadline has passed.
LAST_WORD_SECONDS = 0.5
ROUNDS = 100
# Makes an address at which no push arrives.
Gone = Callable[[WholeStore], AbstractContextManager[str]]


@pytest.mark.services
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", BREAKS)
def test_an_outage_under_load_loses_nothing(conductor: Conductor, tmp_path: Path, how: str) -> None:
    with OwnVictoriaMetrics(tmp_path / "store") as service:
        outage = Outage(
            Plan(seconds=4, slots=2, pause_milliseconds=2), conductor, service, tmp_path / "campaign", how
        )
        figures = outage.run()
    assert figures.problems == []
    assert figures.findings.in_flight == figures.findings.counted_in_flight == 0
    assert figures.findings.finished > 200
    assert outage.failed_pushes > 0


@contextmanager
def _refused(store: WholeStore) -> Iterator[str]:
    with socket.socket() as never_listens:
        never_listens.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{never_listens.getsockname()[1]}"


@contextmanager
def _silent() -> Iterator[str]:
    """The kernel accepts, nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def _unreachable(store: WholeStore) -> Iterator[str]:
    """The queue of connections is full: even their beginning gets no answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for one in waiting:
                one.close()


@contextmanager
def _half_open(store: WholeStore) -> Iterator[str]:
    """A connection that has carried pushes, and then no answer any more."""
    release, pushes = threading.Event(), []

    def hold_the_second(request: Exchange) -> Answer | None:
        if request.method == "POST":
            pushes.append(request)
            if len(pushes) > 1:
                release.wait(60)
        return None

    with Proxy(store.url) as proxy:
        proxy.before = hold_the_second
        try:
            yield proxy.url
        finally:
            release.set()


@pytest.mark.parametrize("gone", [_refused, _unreachable, _half_open])
def test_a_worker_ends_in_time_and_its_successor_brings_the_totals(
    embedded_url: str, conductor: Conductor, tmp_path: Path, gone: Gone
) -> None:
    task = f"chaos.{uuid.uuid4().hex[:12]}"
    conductor.define(task)
    store = WholeStore(embedded_url)
    with gone(store) as url:
        variables = {"OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "60000"}
        with worker_on(tmp_path, conductor, WholeStore(url), task, **variables) as worker:
            params = {"action": "measure", "folder": str(tmp_path), "rounds": ROUNDS}
            assert conductor.wait(conductor.start(task, params))["status"] == "COMPLETED"
            sent = worker.signal()
            assert worker.wait() == 0
            assert time.monotonic() - sent <= POLL_SECONDS + FLUSH_SECONDS + SLACK_SECONDS
            (failed,) = worker.records("metrics_last_push_failed")
            assert failed["level"] == "WARNING"
    with worker_on(tmp_path, conductor, store, task) as successor:
        until(lambda: store.value("app.measured_count", task_name=task) == ROUNDS + 100, "every sample")
        assert successor.stop() == 0


def test_the_deadline_counts_the_last_push(conductor: Conductor, tmp_path: Path) -> None:
    task = f"chaos.{uuid.uuid4().hex[:12]}"
    conductor.define(task)
    with _silent() as url:
        deadline = {"PERAGO_SHUTDOWN_FORCE_KILL_AFTER": "2s"}
        with worker_on(tmp_path, conductor, WholeStore(url), task, **deadline) as worker:
            conductor.start(
                task, {"folder": str(tmp_path), "seconds": 60, "threads": 1, "pause_milliseconds": 5}
            )
            until(lambda: list(tmp_path.glob("*.witness")), "the body's start")
            sent = worker.signal()
            assert worker.wait() == 4
            assert 2 <= time.monotonic() - sent <= 2 + LAST_WORD_SECONDS + SLACK_SECONDS
