"""A plain HTTP client that shows status codes and bodies as they are."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

READY_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """One answer: status, content type, body."""

    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class Http:
    """Requests below one base URL."""

    def __init__(self, base: str, headers: dict[str, str] | None = None) -> None:
        self.base = base
        self.headers = headers or {}

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request; `body` is sent as JSON unless it is bytes."""
        url = urllib.parse.urlsplit(self.base + path)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
        sent = {"Content-Type": "application/json", **self.headers}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            target = f"{url.path}?{url.query}" if url.query else url.path
            connection.request(method, target, data, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers.get("Content-Type", ""), response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """Send a GET."""
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a POST."""
        return self.request("POST", path, body, **headers)

    def put(self, path: str, body: Any = None) -> Answer:
        """Send a PUT."""
        return self.request("PUT", path, body)

    def delete(self, path: str) -> Answer:
        """Send a DELETE."""
        return self.request("DELETE", path)


class Conductor(Http):
    """What tests do with a Conductor server; `kind` is `embedded` or `real`."""

    def __init__(self, kind: str, base: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(base, headers)
        self.kind = kind
        self.name = f"protocol-{uuid.uuid4().hex[:12]}"

    def define(self, *, steps: int = 1, workflow: dict[str, Any] | None = None, **definition: Any) -> None:
        """Register a task and a workflow of so many steps of it (`s0`, `s1`, …), both as `name`."""
        assert self.post("/metadata/taskdefs", [{"name": self.name, **definition}]).status == 200
        tasks = [{"name": self.name, "taskReferenceName": f"s{n}", "type": "SIMPLE"} for n in range(steps)]
        body = {"name": self.name, "version": 1, "schemaVersion": 2, "tasks": tasks, **(workflow or {})}
        answer = self.put("/metadata/workflow", [body])
        assert answer.status == 200, answer.text
        assert answer.json["bulkSuccessfulResults"] == [self.name]

    def start(self, given: dict[str, Any] | None = None, **request: Any) -> str:
        """Start a run; return its id."""
        answer = self.post("/workflow", {"name": self.name, "input": given or {}, **request})
        assert answer.status == 200, answer.text
        return answer.text

    def poll(self, worker: str = "w1", domain: str = "") -> dict[str, Any]:
        """Poll until a task comes."""
        return self.until(lambda: self.poll_now(1, worker, domain))[0]  # type: ignore[no-any-return]

    def poll_now(self, count: int = 1, worker: str = "w1", domain: str = "", timeout: int = 0) -> Any:
        """Poll a batch."""
        given = {
            "count": count,
            "timeout": timeout,
            "workerid": worker,
            **({"domain": domain} if domain else {}),
        }
        answer = self.get(f"/tasks/poll/batch/{self.name}?{urllib.parse.urlencode(given)}")
        assert answer.status == 200, answer.text
        return answer.json

    def update(self, task: dict[str, Any], status: str | None, path: str = "/tasks", **result: Any) -> Answer:
        """Report on a task."""
        body = {"workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"], "status": status}
        return self.post(path, {**body, **result})

    def task(self, task: dict[str, Any]) -> dict[str, Any]:
        """Read a task back."""
        return self.get(f"/tasks/{task['taskId']}").json  # type: ignore[no-any-return]

    def run(self, run: str) -> dict[str, Any]:
        """Read a run with its tasks."""
        return self.get(f"/workflow/{run}").json  # type: ignore[no-any-return]

    def decided(self, run: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Have the server evaluate a run until it fulfils a condition; return it."""

        def look() -> dict[str, Any] | None:
            assert self.put(f"/workflow/decide/{run}").status == 200
            shown = self.run(run)
            return shown if condition(shown) else None

        return self.until(look)  # type: ignore[no-any-return]

    @staticmethod
    def until(look: Callable[[], Any]) -> Any:
        """Call `look` until it returns something; fail after twenty seconds."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            seen = look()
            if seen:
                return seen
            assert time.monotonic() < deadline, "nothing came"
            time.sleep(0.02)
