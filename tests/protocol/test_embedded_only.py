"""What the embedded services do beyond the protocol: keys, clear refusals, timeouts without being asked."""

from __future__ import annotations

import base64
import http.client
import subprocess
from typing import Any

import pytest

from services.fixtures import embedded_server
from support.waiting import SLACK_SECONDS

from .client import Conductor, Http


@pytest.fixture
def embedded(embedded_url: str) -> Conductor:
    return Conductor("embedded", embedded_url + "/api")


@pytest.mark.parametrize("kind", ["FORK_JOIN", "SWITCH", "DO_WHILE", "HTTP", "SUB_WORKFLOW", "WAIT"])
def test_other_task_types_are_501(embedded: Conductor, kind: str) -> None:
    definition = {
        "name": embedded.name,
        "version": 1,
        "tasks": [{"name": "x", "taskReferenceName": "a", "type": kind}],
    }
    for answer in (
        embedded.post("/metadata/workflow", definition),
        embedded.put("/metadata/workflow", [definition]),
        embedded.post("/workflow", {"name": embedded.name, "workflowDef": definition}),
    ):
        assert answer.status == 501
        assert kind in answer.json["message"]
    assert embedded.get(f"/metadata/workflow/{embedded.name}").status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/workflow/x/restart"),
        ("GET", "/tasks/search/v2"),
        ("POST", "/event"),
        ("POST", "/workflow/execute/x/1"),
    ],
)
def test_unknown_routes_are_501(embedded: Conductor, method: str, path: str) -> None:
    answer = embedded.request(method, path, {} if method == "POST" else None)
    assert answer.status == 501
    assert f"{method} /api{path}" in answer.json["message"]


def test_a_timeout_fires_without_being_asked(embedded: Conductor) -> None:
    embedded.define(retryCount=0, responseTimeoutSeconds=1)
    run = embedded.start()
    task = embedded.poll()
    ended = embedded.until(lambda: (shown := embedded.run(run))["status"] == "TIMED_OUT" and shown)
    assert 0 <= ended["endTime"] - task["updateTime"] - 1000 < SLACK_SECONDS * 1000


def test_a_rate_limit_holds(embedded: Conductor) -> None:
    # The real server does not enforce it with sqlite.
    embedded.define(rateLimitPerFrequency=2, rateLimitFrequencyInSeconds=1)
    for _ in range(3):
        embedded.start()
    first = embedded.poll_now(3)
    assert len(first) == 2
    last = embedded.poll_now(1, timeout=3000)[0]
    assert last["startTime"] - first[0]["startTime"] >= 1000


def test_health_and_version(embedded_url: str) -> None:
    base = Http(embedded_url)
    for path in ("/health", "/api/health"):
        assert base.get(path).json["healthy"] is True
    assert base.get("/api/version").text == "3.32.3"


@pytest.fixture(scope="module")
def guarded() -> Any:
    with embedded_server("--api-key", "the-id:the-secret", "--token-life", "3") as url:
        yield Http(url)


class TestKeys:
    def test_nothing_but_health_without_a_key(self, guarded: Http) -> None:
        assert guarded.get("/health").status == 200
        for path in ("/api/metadata/taskdefs", "/api/v1/query?query=a"):
            assert guarded.get(path).status == 401
            assert guarded.get(path, X_Authorization="wrong").status == 401
            assert guarded.get(path, X_Authorization="the-secret").status == 200
        assert guarded.post("/opentelemetry/v1/metrics", b"").status == 401

    def test_tokens_are_made_from_the_key_and_expire(self, guarded: Http) -> None:
        wrong = guarded.post("/api/token", {"keyId": "the-id", "keySecret": "other"})
        assert wrong.status == 401
        token = guarded.post("/api/token", {"keyId": "the-id", "keySecret": "the-secret"}).json["token"]
        headers = {"X_Authorization": token}
        assert guarded.get("/api/metadata/taskdefs", **headers).status == 200

        def refused() -> Any:
            answer = guarded.get("/api/metadata/taskdefs", **headers)
            return answer.status == 401 and answer

        assert Conductor.until(refused).json["error"] == "EXPIRED_TOKEN"

    def test_the_store_takes_the_key_as_its_pair(self, guarded: Http) -> None:
        assert guarded.get("/api/v1/healthcheck").status == 204
        for pair, status in (("the-id:the-secret", 200), ("perago-dev:perago-dev", 401), ("the-id:x", 401)):
            header = "Basic " + base64.b64encode(pair.encode()).decode()
            assert guarded.get("/api/v1/repositories", Authorization=header).status == status
            assert guarded.get("/api/v1/query?query=a", Authorization=header).status == 401
        assert guarded.get("/api/v1/repositories", X_Authorization="the-secret").status == 401

    def test_a_server_without_key_has_no_tokens(self, embedded_url: str) -> None:
        assert Http(embedded_url).post("/api/token", {"keyId": "a", "keySecret": "b"}).status == 404


def test_the_network_needs_a_key() -> None:
    command = embedded_server().command
    command[command.index("127.0.0.1:0")] = "0.0.0.0:0"
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "API key" in done.stderr or "KeyRequired" in done.stderr


def test_connections_stay_open(embedded_url: str) -> None:
    connection = http.client.HTTPConnection(embedded_url.removeprefix("http://"), timeout=10)
    for _ in range(3):
        connection.request("GET", "/api/version")
        response = connection.getresponse()
        assert response.read() == b"3.32.3"
        assert not response.will_close
    connection.close()
