"""The health endpoint of a worker, asked as a probe would."""

from __future__ import annotations

from .http import HttpAnswer, send
from .worker import Worker

# Less than the five seconds that the worker grants a connection: a probe waits for no other client.
PROBE_SECONDS = 4.0


def address(worker: Worker) -> tuple[str, int]:
    """Return host and port on which a worker answers, from its log."""
    host, _, port = worker.wait_record("health_listening")["address"].rpartition(":")
    return host.strip("[]"), int(port)


def probe(worker: Worker, path: str, method: str = "GET") -> HttpAnswer:
    """Ask a worker on a connection of its own."""
    host, port = address(worker)
    shown = f"[{host}]" if ":" in host else host
    return send(method, f"http://{shown}:{port}{path}", seconds=PROBE_SECONDS)


def readiness(worker: Worker) -> tuple[int, str, list[str]]:
    """Return status, state and reasons of a worker's readiness."""
    answer = probe(worker, "/readyz")
    return answer.status, answer.json["state"], answer.json["reasons"]
