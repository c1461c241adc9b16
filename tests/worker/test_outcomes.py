"""What a body does, and what Conductor shows of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.proxy import Answer, Exchange, Proxy
from support.worker import Worker

from .conftest import Shared

SECRET_VALUE = "hunter2"


def test_a_result_becomes_the_output(shared: Shared) -> None:
    run = shared.start("echo", text="grüße", number=3)
    workflow = shared.conductor.wait(run)
    assert workflow["status"] == "COMPLETED"
    (task,) = workflow["tasks"]
    assert task["outputData"] == {"result": {"text": "grüße", "number": 3.0, "environment": {}}}
    assert task["workerId"] == "suite@testhost"
    assert "reasonForIncompletion" not in task


def test_parameters_are_coerced_and_unknown_ones_ignored(shared: Shared) -> None:
    run = shared.conductor.start(shared.task, {"action": "echo", "number": "42", "unknown": {"a": 1}})
    task = shared.conductor.wait_task(run)
    assert task["outputData"]["result"]["number"] == 42


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (
            {"action": "echo", "number": SECRET_VALUE},
            "params.number: Input should be a valid integer, unable to parse string as an integer "
            "[int_parsing]",
        ),
        (
            {"action": ["list"], "text": {"password": SECRET_VALUE}},
            "params.action: Input should be a valid string [string_type]; "
            "params.text: Input should be a valid string [string_type]",
        ),
        ("not an object", "params: Input should be a valid dictionary or instance of Params [model_type]"),
    ],
)
def test_invalid_parameters_are_named_without_their_values(
    shared: Shared, params: object, reason: str
) -> None:
    run = shared.conductor.start(shared.task, params)
    task = shared.conductor.wait_task(run)
    assert (task["status"], task["reasonForIncompletion"]) == ("FAILED", reason)
    record = shared.worker.wait_record("task_failed", task_id=task["taskId"])
    assert record["failure_code"] == "params_invalid"
    assert SECRET_VALUE not in json.dumps(shared.worker.records())


def test_an_input_without_params(shared: Shared) -> None:
    inline = {
        "name": shared.task,
        "version": 1,
        "schemaVersion": 2,
        "ownerEmail": "tests@example.com",
        "tasks": [{"name": shared.task, "taskReferenceName": "body", "type": "SIMPLE"}],
    }
    task = shared.conductor.wait_task(shared.conductor.start(shared.task, {}, workflowDef=inline))
    assert task["reasonForIncompletion"] == "workspace-free task input must contain params"
    assert task["status"] == "FAILED"


@pytest.mark.parametrize(
    ("action", "text", "status", "reason", "code"),
    [
        ("failed", "not now", "FAILED", "not now", "task_failed"),
        ("terminal", "never", "FAILED_WITH_TERMINAL_ERROR", "never", "task_terminal"),
        ("raise", "no such song", "FAILED", "no such song", "body_raised"),
        ("key", "k", "FAILED", "'k'", "body_raised"),
        ("silent", "", "FAILED", "RuntimeError", "body_raised"),
        ("raise", "z" * 600, "FAILED", "z" * 500, "body_raised"),
    ],
)
def test_failures_of_a_body(
    shared: Shared, action: str, text: str, status: str, reason: str, code: str
) -> None:
    task = shared.run(action, text=text)
    assert (task["status"], task["reasonForIncompletion"]) == (status, reason)
    record = shared.worker.wait_record("task_failed", task_id=task["taskId"])
    assert record["failure_code"] == code
    assert record["terminal"] is (status != "FAILED")
    assert record["exception"].startswith("Traceback (most recent call last):\n  File ")
    assert "scenario.py" in record["exception"]
    assert "/perago/_attempt.py" not in record["exception"]


def test_only_the_worker_cancels(shared: Shared) -> None:
    """A body that raises the exception by itself has failed like any other."""
    task = shared.run("cancelled", text="by itself")
    assert (task["status"], task["reasonForIncompletion"]) == ("FAILED", "TaskCancelled: by itself")


def test_nan_is_refused_with_its_place(shared: Shared) -> None:
    task = shared.run("nan")
    assert task["status"] == "FAILED"
    assert str(task["reasonForIncompletion"]).startswith("result.number: ")
    assert (
        shared.worker.wait_record("task_failed", task_id=task["taskId"])["failure_code"] == "result_not_json"
    )


def test_a_result_that_does_not_fit_its_model(shared: Shared) -> None:
    task = shared.run("wrong")
    assert task["status"] == "FAILED"
    assert task["reasonForIncompletion"] == "result.text: Input should be a valid string [string_type]"


def test_a_result_that_could_not_be_read_back_is_refused(shared: Shared) -> None:
    task = shared.run("large", number=3 * 1024 * 1024)
    assert task["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "Conductor keeps at most 3145728" in str(task["reasonForIncompletion"])
    below = shared.run("large", number=3 * 1024 * 1024 - 1024)
    assert below["status"] == "COMPLETED"


def test_an_external_payload_is_refused(
    conductor: Conductor, proxy: Proxy, task_name: str, tmp_path: Path
) -> None:
    def externalise(exchange: Exchange) -> Answer | None:
        if "/tasks/poll/" not in exchange.path:
            return None
        tasks = json.loads(exchange.answer)
        for task in tasks:
            task["inputData"] = {}
            task["externalInputPayloadStoragePath"] = "2026/01/01/input.json"
        return Answer(200, json.dumps(tasks).encode())

    proxy.after = externalise
    conductor.define(task_name)
    with Worker(tmp_path, proxy.url, task_name):
        task = conductor.wait_task(conductor.start(task_name, {}))
    assert task["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "external storage (2026/01/01/input.json)" in task["reasonForIncompletion"]
