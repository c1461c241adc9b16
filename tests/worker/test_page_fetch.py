"""The example task that awaits HTTP, against a server of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.conductor import Conductor
from support.metrics import MetricStore
from support.rust import rust_program
from support.waiting import until
from support.worker import Worker

from .conftest import Shared

TASK = "page.fetch"
BODY = b"la" * 500


class Site(ThreadingHTTPServer):
    """Pages by their path: a status, or one that never ends."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: list[tuple[str, int]] = []
        self.is_left = threading.Event()


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.client_address[1]))
        if self.path == "/endless":
            # Whoever waits for the answer closes the connection when it gives up.
            self.rfile.read(1)
            self.server.is_left.set()
            self.close_connection = True
            return
        self.send_response(int(self.path.removeprefix("/")))
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site
        site.shutdown()


@pytest.fixture(scope="module")
def fetching(
    conductor: Conductor, embedded_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    conductor.define(TASK, responseTimeoutSeconds=3)
    program = rust_program("example-tasks")
    root = tmp_path_factory.mktemp("fetching")
    settings = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": MetricStore(embedded_url).endpoint,
        "PERAGO_INSTANCE_ID": "suite-page-fetch",
    }
    with Worker(root, conductor.url, TASK, TASK, program=program, **settings) as worker:
        yield Shared(conductor, worker, TASK)


def fetch(fetching: Shared, url: str, **params: object) -> dict[str, Any]:
    task = fetching.conductor.wait_task(fetching.conductor.start(TASK, {"url": url, **params}))
    return dict(task)


def test_a_page_is_fetched_over_a_connection_that_is_kept(fetching: Shared, site: Site) -> None:
    before = len(site.asked)
    for _ in range(2):
        task = fetch(fetching, f"{site.url}/200")
        assert task["outputData"]["result"] == {"status": 200, "bytes": len(BODY)}, task
    (one, first), (other, second) = site.asked[before:]
    assert one == other == "/200"
    assert first == second
    logged = fetching.worker.wait_record("body_log", message="fetched")
    assert logged["bytes"] == len(BODY)


@pytest.mark.parametrize(
    ("page", "params", "status", "reason"),
    [
        ("/404", {}, "FAILED_WITH_TERMINAL_ERROR", "the page is not there: 404 Not Found"),
        ("/410", {}, "FAILED_WITH_TERMINAL_ERROR", "the page is not there: 410 Gone"),
        ("/503", {}, "FAILED", "503 Service Unavailable"),
        ("/endless", {"timeout_seconds": 1}, "FAILED", "operation timed out"),
        ("/200", {"timeout_seconds": 0}, "FAILED", "params.timeout_seconds: Input should be greater than or"),
    ],
)
def test_what_is_repeated_and_what_is_not(
    fetching: Shared, site: Site, page: str, params: dict[str, object], status: str, reason: str
) -> None:
    task = fetch(fetching, site.url + page, **params)
    assert task["status"] == status
    assert reason in task["reasonForIncompletion"]


def test_a_fetch_is_dropped_when_its_task_is_cancelled(fetching: Shared, site: Site) -> None:
    site.is_left.clear()
    before = len(site.asked)
    run = fetching.conductor.start(TASK, {"url": f"{site.url}/endless", "timeout_seconds": 600})
    until(lambda: len(site.asked) > before, "the request")
    fetching.conductor.terminate(run)
    assert fetching.worker.wait_record("body_stopped", workflow_instance_id=run)["killed"] is False
    until(site.is_left.is_set, "the end of the connection")
