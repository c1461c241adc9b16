"""The health endpoint of a worker, asked as a probe would."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from .worker import Worker

# Less than the five seconds that the worker grants a connection: a probe waits for no other client.
PROBE_SECONDS = 4.0


@dataclass(frozen=True)
class Probe:
    """An answer of the endpoint."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def report(self) -> dict[str, Any]:
        """The JSON of the body."""
        return dict(json.loads(self.body))


def address(worker: Worker) -> tuple[str, int]:
    """Return host and port on which a worker answers, from its log."""
    host, _, port = worker.wait_record("health_listening")["address"].rpartition(":")
    return host.strip("[]"), int(port)


def probe(worker: Worker, path: str, method: str = "GET") -> Probe:
    """Ask a worker on a connection of its own."""
    connection = http.client.HTTPConnection(*address(worker), timeout=PROBE_SECONDS)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return Probe(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def readiness(worker: Worker) -> tuple[int, str, list[str]]:
    """Return status, state and reasons of a worker's readiness."""
    answer = probe(worker, "/readyz")
    return answer.status, answer.report["state"], answer.report["reasons"]
