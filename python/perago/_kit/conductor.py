"""A Conductor server as tests use it: definitions, runs, queues."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from perago._kit.http import send
from perago._kit.waiting import until

FINAL = ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")


class HttpRefusedError(AssertionError):
    """A server answered a request of a test with another status than 2xx."""

    def __init__(self, method: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{method} {path}: {status} {text}")
        self.status = status
        self.text = text


@dataclass(frozen=True)
class WorkflowRun:
    """One run of a workflow with a single step, as the server showed it."""

    id: str
    """The workflow instance id."""
    status: str
    """Conductor's status of the run."""
    attempts: list[dict[str, Any]]
    """The attempts at its step as the server has them, oldest first."""

    @property
    def output(self) -> dict[str, Any]:
        """The output of the last attempt: `result`, and `workspace` of a workspace task."""
        output: dict[str, Any] = self.attempts[-1].get("outputData") or {}
        return output

    @property
    def result(self) -> Any:
        """What the body returned, or `None`."""
        return self.output.get("result")

    @property
    def reason(self) -> str | None:
        """Why the last attempt did not complete."""
        return self.attempts[-1].get("reasonForIncompletion")


def step_of(task: str, *, has_workspace: bool) -> dict[str, Any]:
    """Return the step `body` of a workflow that passes its whole input to a task."""
    inputs = {"params": "${workflow.input.params}"}
    if has_workspace:
        inputs["workspace"] = "${workflow.input.workspace}"
    return {"name": task, "taskReferenceName": "body", "type": "SIMPLE", "inputParameters": inputs}


class Conductor:
    """Calls below one API base such as `http://127.0.0.1:8080/api`.

    Args:
        url: The base.
        headers: Sent with every request.

    """

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.url = url
        self._headers = headers or {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request; return the JSON or text of a 2xx answer.

        Raises:
            HttpRefusedError: Any other answer.

        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self._headers}
        answer = send(method, self.url + path, data, headers)
        text = answer.body.decode()
        if not 200 <= answer.status < 300:
            raise HttpRefusedError(method, path, answer.status, text)
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    def register(self, task: dict[str, Any], *, has_workspace: bool) -> None:
        """Register a TaskDef, and a workflow of its name with one step `body` that gets the whole input."""
        self.call("POST", "/metadata/taskdefs", [task])
        self.define_workflow(task["name"], [step_of(task["name"], has_workspace=has_workspace)])

    def define_workflow(self, name: str, steps: list[dict[str, Any]]) -> None:
        """Register a workflow of these steps."""
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
        shown: dict[str, Any] = self.call("GET", f"/workflow/{run}?includeTasks=true")
        return shown

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
