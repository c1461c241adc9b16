from __future__ import annotations

from typing import Any

import pytest

from .client import Conductor


def test_a_task_definition_is_served_with_every_default(conductor: Conductor) -> None:
    assert conductor.get(f"/metadata/taskdefs/{conductor.name}").status == 404
    answer = conductor.post("/metadata/taskdefs", [{"name": conductor.name}])
    assert (answer.status, answer.body) == (200, b"")
    shown = conductor.get(f"/metadata/taskdefs/{conductor.name}").json
    assert shown.pop("createTime") > 1_700_000_000_000
    assert shown == {
        "updateTime": 0, "createdBy": "", "name": conductor.name, "retryCount": 3, "timeoutSeconds": 0,
        "inputKeys": [], "outputKeys": [], "runtimeMetadata": [], "timeoutPolicy": "TIME_OUT_WF",
        "retryLogic": "FIXED", "retryDelaySeconds": 60, "responseTimeoutSeconds": 3600, "inputTemplate": {},
        "rateLimitPerFrequency": 0, "rateLimitFrequencyInSeconds": 1, "backoffScaleFactor": 1,
        "maxRetryDelaySeconds": 0, "backoffJitterMs": 0, "totalTimeoutSeconds": 0,
        "taskStatusListenerEnabled": True, "enforceSchema": False,
    }  # fmt: skip


def test_post_replaces_and_put_needs_an_existing_definition(conductor: Conductor) -> None:
    missing = conductor.put("/metadata/taskdefs", {"name": conductor.name})
    assert missing.status == 404
    assert missing.json["message"] == f"No such task by name {conductor.name}"
    conductor.post("/metadata/taskdefs", [{"name": conductor.name, "retryCount": 7, "description": "old"}])
    conductor.post("/metadata/taskdefs", [{"name": conductor.name, "retryCount": 8}])
    shown = conductor.get(f"/metadata/taskdefs/{conductor.name}").json
    assert shown["retryCount"] == 8
    assert "description" not in shown
    assert conductor.put("/metadata/taskdefs", {"name": conductor.name, "retryCount": 9}).status == 200
    updated = conductor.get(f"/metadata/taskdefs/{conductor.name}").json
    assert updated["retryCount"] == 9
    assert updated["createTime"] == shown["createTime"]
    assert updated["updateTime"] >= shown["createTime"]
    assert any(known["name"] == conductor.name for known in conductor.get("/metadata/taskdefs").json)
    assert conductor.delete(f"/metadata/taskdefs/{conductor.name}").status == 200
    again = conductor.delete(f"/metadata/taskdefs/{conductor.name}")
    assert (again.status, again.json["message"]) == (500, "No such task definition")


@pytest.mark.parametrize(
    ("definition", "field", "message"),
    [
        ({"retryCount": -1}, ".retryCount", "TaskDef retryCount: 0 must be >= 0"),
        ({"responseTimeoutSeconds": 0}, ".responseTimeoutSeconds",
         "TaskDef responseTimeoutSeconds: 0 should be minimum 1 second"),
        ({"timeoutSeconds": 10}, "", "responseTimeoutSeconds: 3600 must be less than timeoutSeconds: 10"),
        ({"timeoutSeconds": 3700, "totalTimeoutSeconds": 3650}, "",
         "timeoutSeconds: 3700 must be less than or equal to totalTimeoutSeconds: 3650"),
        ({"name": ""}, ".name", "TaskDef name cannot be null or empty"),
    ],
)  # fmt: skip
def test_invalid_task_definitions(
    conductor: Conductor, definition: dict[str, Any], field: str, message: str
) -> None:
    answer = conductor.post("/metadata/taskdefs", [{"name": conductor.name, **definition}])
    assert answer.status == 400
    shown = answer.json
    assert shown["message"] == "Validation failed, check below errors for detail."
    assert shown["retryable"] is False
    (violation,) = shown["validationErrors"]
    assert violation["path"] == f"registerTaskDef.arg0[0]{field}"
    assert message in violation["message"]


def test_equal_timeouts_are_accepted(conductor: Conductor) -> None:
    definition = {"name": conductor.name, "timeoutSeconds": 10, "responseTimeoutSeconds": 10}
    assert conductor.post("/metadata/taskdefs", [definition]).status == 200


@pytest.mark.parametrize("body", [{"name": "x"}, b"[{", [{"name": "x", "retryLogic": "X"}], b""])
def test_what_does_not_parse_is_500_and_not_retryable(conductor: Conductor, body: Any) -> None:
    answer = conductor.post("/metadata/taskdefs", body)
    assert answer.status == 500
    assert answer.json["retryable"] is False
    assert answer.json["message"].startswith(("JSON parse error: ", "Required request body is missing"))


def test_workflow_definitions(conductor: Conductor) -> None:
    task = {"name": conductor.name, "taskReferenceName": "a", "type": "SIMPLE"}
    body = {"name": conductor.name, "version": 1, "tasks": [task]}
    path = f"/metadata/workflow/{conductor.name}"
    assert (
        conductor.get(path).json["message"]
        == f"No such workflow found by name: {conductor.name}, version: null"
    )
    assert conductor.post("/metadata/workflow", body).status == 200
    again = conductor.post("/metadata/workflow", body)
    assert (again.status, again.json["message"]) == (409, f"Workflow with {conductor.name}.1 already exists!")
    assert conductor.put("/metadata/workflow", [{**body, "version": 2, "description": "two"}]).status == 200
    assert conductor.get(path).json["version"] == 2
    first = conductor.get(f"{path}?version=1").json
    assert first["timeoutPolicy"] == "ALERT_ONLY"
    assert first["tasks"][0]["inputParameters"] == {}
    assert conductor.get(f"{path}?version=9").status == 404


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "WorkflowTask list cannot be empty"),
        (["a", "a"], "taskReferenceName: a should be unique across tasks"),
        (["${zz.output.q}"], "taskReferenceName: zz for given task"),
    ],
)
def test_invalid_workflow_definitions(conductor: Conductor, tasks: list[str], message: str) -> None:
    steps = [
        {"name": conductor.name, "taskReferenceName": "a", "type": "SIMPLE", "inputParameters": {"q": text}}
        for text in tasks
    ]
    answer = conductor.post("/metadata/workflow", {"name": conductor.name, "version": 1, "tasks": steps})
    assert answer.status == 400
    assert message in answer.json["validationErrors"][0]["message"]
