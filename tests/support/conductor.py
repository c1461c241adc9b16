"""A Conductor server, embedded or real, as tests use it."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import Any

from .waiting import until

FINAL = ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")


class Conductor:
    """Calls below one API base such as `http://127.0.0.1:8080/api`."""

    def __init__(self, url: str, kind: str, headers: dict[str, str] | None = None) -> None:
        self.url = url
        self.kind = kind
        self._headers = headers or {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request; return the JSON or text of a 2xx answer."""
        base = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **self._headers}
            connection.request(method, base.path + path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {text}"
        finally:
            connection.close()
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    def define(self, name: str, *, has_workspace: bool = False, **definition: Any) -> None:
        """Register a task, and a workflow of the same name with one step `body` that gets the whole input."""
        self.define_task(name, **definition)
        inputs = {"params": "${workflow.input.params}"}
        if has_workspace:
            inputs["workspace"] = "${workflow.input.workspace}"
        step = {"name": name, "taskReferenceName": "body", "type": "SIMPLE", "inputParameters": inputs}
        self.define_workflow(name, [step])

    def define_task(self, name: str, **definition: Any) -> None:
        """Register a task."""
        task = {
            "name": name,
            "retryCount": 0,
            "retryDelaySeconds": 0,
            "responseTimeoutSeconds": 600,
            **definition,
        }
        self.call("POST", "/metadata/taskdefs", [task])

    def define_workflow(self, name: str, steps: list[dict[str, Any]]) -> None:
        """Register a workflow."""
        workflow = {
            "name": name,
            "version": 1,
            "schemaVersion": 2,
            "tasks": steps,
            "timeoutPolicy": "ALERT_ONLY",
            "timeoutSeconds": 0,
            "ownerEmail": "tests@example.com",
        }
        self.call("PUT", "/metadata/workflow", [workflow])

    def start(self, name: str, params: Any, workspace: Any = None, **request: Any) -> str:
        """Start a run; return its id."""
        inputs = {"params": params} if workspace is None else {"params": params, "workspace": workspace}
        body = {"name": name, "version": 1, "input": inputs, **request}
        return str(self.call("POST", "/workflow", body))

    def workflow(self, run: str) -> dict[str, Any]:
        """Read a run with its tasks."""
        return self.call("GET", f"/workflow/{run}?includeTasks=true")  # type: ignore[no-any-return]

    def status(self, run: str) -> str:
        """Read the status of a run."""
        return str(self.call("GET", f"/workflow/{run}?includeTasks=false")["status"])

    def last_task(self, run: str) -> dict[str, Any]:
        """Read the last attempt of a run's step."""
        tasks: list[dict[str, Any]] = self.workflow(run)["tasks"]
        return tasks[-1]

    def wait(self, run: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until a run has ended; return it."""
        until(lambda: self.status(run) in FINAL, f"the end of workflow {run}", seconds)
        return self.workflow(run)

    def wait_task(self, run: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until a run has ended; return the last attempt of its step."""
        tasks: list[dict[str, Any]] = self.wait(run, seconds)["tasks"]
        return tasks[-1]

    def terminate(self, run: str) -> None:
        """End a run."""
        self.call("DELETE", f"/workflow/{run}?reason=tests")

    def decide(self, run: str) -> None:
        """Have the server evaluate a run now, timeouts included."""
        self.call("PUT", f"/workflow/decide/{run}")

    def task_log(self, task: dict[str, Any]) -> list[str]:
        """Read the lines of a task's log."""
        return [line["log"] for line in self.call("GET", f"/tasks/{task['taskId']}/log") or []]

    def queue_size(self, name: str) -> int:
        """Return how many tasks wait."""
        return int(self.call("GET", f"/tasks/queue/size?taskType={name}") or 0)
