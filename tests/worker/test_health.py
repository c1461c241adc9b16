"""The health endpoint: what it says in each state, and that no client of it holds the worker up."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

import perago
from support.conductor import Conductor
from support.health import address, probe, readiness
from support.proxy import Answer, Exchange, Proxy
from support.waiting import SLACK_SECONDS, until
from support.worker import Worker

from .test_state_disk import fill

LISTEN = ("--health-listen", "127.0.0.1:0")
READY = (200, "polling", [])
# What the worker grants a connection.
CONNECTION_SECONDS = 5 + SLACK_SECONDS
MOST_CONNECTIONS = 32


def test_paths_methods_and_what_they_say(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, "-j", "3", *LISTEN) as worker:
        for path in ("/livez", "/readyz", "/healthz", "/readyz?verbose"):
            answer = probe(worker, path)
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/json"
            assert answer.json == {
                "state": "polling",
                "ready": True,
                "reasons": [],
                "task_name": task_name,
                "version": perago.__version__,
                "slots": {"busy": 0, "total": 3},
            }
            head = probe(worker, path, "HEAD")
            assert (head.status, head.body) == (200, b"")
            assert head.headers["content-length"] == str(len(answer.body))
        for method in ("POST", "DELETE", "OPTIONS"):
            refused = probe(worker, "/livez", method)
            assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
        for path in ("/", "/metrics", "/livez/", "/LIVEZ"):
            assert probe(worker, path).status == 404


def test_a_worker_lives_before_it_is_ready(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    asked, release = threading.Event(), threading.Event()

    def hold(exchange: Exchange) -> Answer | None:
        if "/metadata/taskdefs" in exchange.path:
            asked.set()
            assert release.wait(20)
        return None

    proxy.before = hold
    worker = Worker(tmp_path, proxy.url, task_name, *LISTEN)
    try:
        assert asked.wait(20)
        assert readiness(worker) == (503, "starting", ["starting"])
        living = probe(worker, "/livez")
        assert (living.status, living.json["ready"], living.json["task_name"]) == (200, False, None)
        release.set()
        worker.wait_ready()
        assert readiness(worker) == READY
        # What others do is no matter of this worker's health.
        proxy.cut()
        worker.wait_record("poll_failed")
        assert probe(worker, "/livez").status == 200
        assert readiness(worker) == READY
    finally:
        release.set()
        worker.end()


def test_it_answers_until_the_drain_is_over(
    conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, "-j", "2", *LISTEN) as worker:
        run = conductor.start(task_name, {"action": "gate", "folder": str(folder)})
        until(lambda: (folder / "started").exists(), "the body's start")
        assert readiness(worker) == READY
        assert probe(worker, "/readyz").json["slots"] == {"busy": 1, "total": 2}
        worker.signal()
        worker.wait_record("worker_draining")
        assert readiness(worker) == (503, "draining", ["draining"])
        living = probe(worker, "/livez")
        assert (living.status, living.json["slots"]["busy"]) == (200, 1)
        where = address(worker)
        (folder / "go").touch()
        assert worker.wait() == 0
        assert conductor.wait(run)["status"] == "COMPLETED"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where, 1)


def test_a_worker_whose_executors_are_gone_waits(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, *LISTEN) as worker:

        def waits() -> bool:
            # The first is replaced at once, the second after a second, the third after two.
            for executor in worker.executors():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(executor.pid, signal.SIGKILL)
            return readiness(worker) == (503, "waiting", ["no_executor_ready"])

        until(waits, "a worker without executors")
        assert probe(worker, "/livez").status == 200
        until(lambda: readiness(worker) == READY, "a new executor")


def test_a_full_disk_and_a_variable_are_reasons_too(
    conductor: Conductor, task_name: str, tmp_path: Path, small_disk: Path
) -> None:
    conductor.define(task_name)
    variables = {
        "PERAGO_STATE_DIR": str(small_disk / "state"),
        "CONDUCTOR_WORKER_ALL_PAUSED": "true",
        "PERAGO_HEALTH_LISTEN": "127.0.0.1:0",
    }
    with Worker(tmp_path, conductor.url, task_name, **variables) as worker:
        assert readiness(worker) == (503, "paused", ["paused_by_setting"])
        fill(small_disk)
        both = (503, "paused", ["paused_by_setting", "state_disk_full"])
        until(lambda: readiness(worker) == both, "both reasons")
        assert probe(worker, "/livez").status == 200


def test_version_six_and_the_option_before_the_variable(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    variables = {"PERAGO_HEALTH_LISTEN": "192.0.2.1:9"}
    with Worker(tmp_path, conductor.url, task_name, "--health-listen", "[::1]:0", **variables) as worker:
        assert address(worker)[0] == "::1"
        assert readiness(worker) == READY


def test_a_port_in_use_is_an_error(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = Worker(tmp_path, conductor.url, task_name, "--health-listen", where)
        try:
            assert worker.wait() == 1
            assert worker.stderr == [
                f"error: the health endpoint cannot listen on {where}: Address already in use (os error 98)",
                "  hint: give an address of this host and a free port with --health-listen or "
                "PERAGO_HEALTH_LISTEN",
            ]
        finally:
            worker.end()


def test_clients_that_hang_hold_nobody_up(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, *LISTEN) as worker:
        where = address(worker)
        hanging = []
        began = time.monotonic()
        for number in range(2 * MOST_CONNECTIONS):
            client = socket.create_connection(where, CONNECTION_SECONDS)
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: " if number % 2 else b"")
            hanging.append(client)
        assert readiness(worker) == READY
        run = conductor.start(task_name, {"action": "echo"})
        assert conductor.wait(run)["status"] == "COMPLETED"
        # The oldest made room, the newest has had its time.
        for client in (hanging[0], hanging[-1]):
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert time.monotonic() - began <= CONNECTION_SECONDS
        for client in hanging:
            client.close()
        assert readiness(worker) == READY


def test_requests_that_are_none_are_refused(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    large = b"GET /livez HTTP/1.1\r\nX: " + b"y" * 65536 + b"\r\n\r\n"
    with Worker(tmp_path, conductor.url, task_name, *LISTEN) as worker:
        for sent, status in [(b"\x16\x03\x01\x02\x00 hello\r\n\r\n", b"400"), (large, b"431")]:
            with socket.create_connection(address(worker), CONNECTION_SECONDS) as client:
                client.sendall(sent)
                try:
                    said = client.recv(4096)
                except ConnectionResetError:
                    continue  # It closed before it had read everything.
            assert said == b"" or said.split(b" ")[1] == status
        assert readiness(worker) == READY
