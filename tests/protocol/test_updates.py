from __future__ import annotations

import pytest

from .client import Conductor


def test_an_update_replaces_whole_fields(conductor: Conductor) -> None:
    conductor.define()
    conductor.start()
    task = conductor.poll("w1")
    part = conductor.update(
        task,
        "IN_PROGRESS",
        outputData={"part": 1},
        workerId="w2",
        reasonForIncompletion="wait",
        callbackAfterSeconds=0,
    )
    assert (part.status, part.text) == (200, task["taskId"])
    again = conductor.poll("w3")
    assert (again["taskId"], again["retryCount"], again["pollCount"]) == (task["taskId"], 0, 2)
    assert (again["outputData"], again["workerId"], again["reasonForIncompletion"]) == (
        {"part": 1},
        "w3",
        "wait",
    )
    assert again["startTime"] == task["startTime"]
    conductor.update(again, "COMPLETED")
    done = conductor.task(task)
    assert (done["status"], done["outputData"]) == ("COMPLETED", {})
    assert "workerId" not in done
    assert "reasonForIncompletion" not in done


def test_in_progress_gives_the_claim_back_after_its_delay(conductor: Conductor) -> None:
    conductor.define()
    conductor.start()
    task = conductor.poll()
    conductor.update(task, "IN_PROGRESS", callbackAfterSeconds=1)
    shown = conductor.task(task)
    assert (shown["status"], shown["callbackAfterSeconds"]) == ("SCHEDULED", 1)
    assert conductor.poll_now() == []
    assert conductor.poll()["taskId"] == task["taskId"]


@pytest.mark.parametrize(
    ("status", "workflow"), [("FAILED_WITH_TERMINAL_ERROR", "FAILED"), ("CANCELED", "TERMINATED")]
)
def test_final_failures_end_the_run(conductor: Conductor, status: str, workflow: str) -> None:
    conductor.define(retryCount=3)
    run = conductor.start()
    task = conductor.poll()
    conductor.update(task, status, reasonForIncompletion="why", outputData={"z": 1})
    shown = conductor.run(run)
    assert shown["status"] == workflow
    assert shown["output"] == {"z": 1}
    assert shown["reasonForIncompletion"].endswith(f"failed with status: {workflow} and reason: 'why'")
    assert [attempt["status"] for attempt in shown["tasks"]] == [status]


def test_updates_of_what_is_over_are_ignored_silently(conductor: Conductor) -> None:
    conductor.define()
    run = conductor.start()
    task = conductor.poll()
    conductor.update(task, "COMPLETED", outputData={"first": 1})
    for status in ("COMPLETED", "FAILED", "IN_PROGRESS"):
        late = conductor.update(task, status, outputData={"second": 2})
        assert (late.status, late.text) == (200, task["taskId"])
    assert conductor.task(task)["outputData"] == {"first": 1}
    assert conductor.run(run)["status"] == "COMPLETED"


def test_unknown_ids(conductor: Conductor) -> None:
    conductor.define()
    conductor.start()
    task = conductor.poll()
    no_task = conductor.update({**task, "taskId": "nope"}, "COMPLETED")
    assert (no_task.status, no_task.json["message"]) == (404, "No such task found by id: nope")
    no_run = conductor.update({"taskId": "nope", "workflowInstanceId": "nowhere"}, "COMPLETED")
    assert (no_run.status, no_run.json["message"]) == (404, "No such workflow found by id: nowhere")
    assert conductor.task(task)["status"] == "IN_PROGRESS"
    read = conductor.get("/tasks/nope")
    assert (read.status, read.json["message"]) == (404, "Task not found for taskId: nope")
    for path, status in (("/tasks", 400), ("/tasks/update-v2", 500)):
        assert conductor.post(path, {"taskId": task["taskId"], "status": "COMPLETED"}).status == status
        assert conductor.post(path, {"workflowInstanceId": "x", "status": "COMPLETED"}).status == status


def test_an_update_through_another_run(conductor: Conductor) -> None:
    conductor.define()
    conductor.start()
    conductor.start()
    one, two = conductor.poll(), conductor.poll()
    mixed = {"taskId": one["taskId"], "workflowInstanceId": two["workflowInstanceId"]}
    assert conductor.update(mixed, "COMPLETED").status == 200
    assert conductor.task(one)["status"] == "COMPLETED"
    assert conductor.run(two["workflowInstanceId"])["status"] == "RUNNING"
    conductor.decided(one["workflowInstanceId"], lambda run: run["status"] == "COMPLETED")


@pytest.mark.parametrize("path", ["/tasks", "/tasks/update-v2"])
def test_bad_bodies_are_500(conductor: Conductor, path: str) -> None:
    conductor.define()
    conductor.start()
    task = conductor.poll()
    assert conductor.update(task, "BAD", path).status == 500
    assert conductor.update(task, None, path).status == 500
    assert conductor.post(path, b"{").status == 500
    assert conductor.post(path, b"").status == 500
    assert conductor.post(path, b"{}", Content_Type="text/plain").status == 500
    assert conductor.request("PATCH", path).status == 405
    assert conductor.task(task)["status"] == "IN_PROGRESS"


def test_update_v2_hands_out_the_next_task(conductor: Conductor) -> None:
    conductor.define()
    conductor.start()
    first = conductor.poll()
    assert conductor.update(first, "IN_PROGRESS", "/tasks/update-v2", extendLease=True).status == 204
    conductor.start()
    answer = conductor.until(lambda: conductor.get(f"/tasks/queue/size?taskType={conductor.name}").json == 1)
    answer = conductor.update(first, "COMPLETED", "/tasks/update-v2", workerId="w9")
    assert answer.status == 200
    second = answer.json
    assert (second["status"], second["workerId"]) == ("IN_PROGRESS", "w9")
    # Nothing left: 204. The same after an update that is ignored.
    assert conductor.update(second, "COMPLETED", "/tasks/update-v2").status == 204
    conductor.start()
    conductor.until(lambda: conductor.get(f"/tasks/queue/size?taskType={conductor.name}").json == 1)
    ignored = conductor.update(second, "COMPLETED", "/tasks/update-v2")
    assert (ignored.status, ignored.json["taskType"]) == (200, conductor.name)


def test_lease_extension_changes_only_the_update_time(conductor: Conductor) -> None:
    conductor.define()
    conductor.start()
    task = conductor.poll("w1")
    beat = conductor.update(
        {**task, "workflowInstanceId": "not-looked-at"}, "COMPLETED", extendLease=True, workerId="w2",
        outputData={"x": 1}, callbackAfterSeconds=9, logs=[{"log": "no"}],
    )  # fmt: skip
    assert (beat.status, beat.text) == (200, task["taskId"])
    shown = conductor.task(task)
    assert (shown["status"], shown["outputData"], shown["workerId"]) == ("IN_PROGRESS", {}, "w1")
    assert shown["callbackAfterSeconds"] == 0
    assert shown["updateTime"] >= task["updateTime"]
    assert conductor.get(f"/tasks/{task['taskId']}/log").status == 204
    assert conductor.update({**task, "taskId": "nope"}, "IN_PROGRESS", extendLease=True).status == 404
    conductor.update(task, "COMPLETED")
    assert conductor.update(task, "IN_PROGRESS", extendLease=True).status == 200
    assert conductor.task(task)["status"] == "COMPLETED"


def test_a_scheduled_task_can_be_completed_unpolled(conductor: Conductor) -> None:
    conductor.define()
    run = conductor.start()
    task = conductor.run(run)["tasks"][0]
    assert conductor.update(task, "COMPLETED").status == 200
    assert conductor.run(run)["status"] == "COMPLETED"
    assert conductor.poll_now() == []


def test_update_by_reference_name(conductor: Conductor) -> None:
    conductor.define()
    run = conductor.start()
    nothing = conductor.post(f"/tasks/{run}/other/COMPLETED", {"x": 1})
    assert (nothing.status, nothing.body) == (200, b"")
    done = conductor.post(f"/tasks/{run}/s0/COMPLETED?workerid=me", {"x": 1})
    task = conductor.run(run)["tasks"][0]
    assert (done.status, done.text) == (200, task["taskId"])
    assert (task["status"], task["outputData"], task["workerId"]) == ("COMPLETED", {"x": 1}, "me")


def test_logs(conductor: Conductor) -> None:
    conductor.define()
    conductor.start()
    task = conductor.poll()
    path = f"/tasks/{task['taskId']}/log"
    assert conductor.get(path).status == 204
    assert conductor.post(path, b'"raw"', Content_Type="text/plain").status == 200
    conductor.update(
        task, "COMPLETED", logs=[{"log": "late", "createdTime": 5, "taskId": "other"}, {"log": "none"}]
    )
    lines = conductor.get(path).json
    assert [(line["log"], line["createdTime"]) for line in lines[:2]] == [("none", 0), ("late", 5)]
    assert lines[2]["log"] == '"raw"'
    assert lines[2]["createdTime"] > 1_700_000_000_000
    assert {line["taskId"] for line in lines} == {task["taskId"]}
    assert conductor.post("/tasks/nope/log", b"x").status == 200


def test_payloads_beyond_the_limits(conductor: Conductor) -> None:
    tasks = [
        {"name": conductor.name, "taskReferenceName": "a", "type": "SIMPLE"},
        {
            "name": conductor.name,
            "taskReferenceName": "b",
            "type": "SIMPLE",
            "inputParameters": {"all": "${a.output.v}"},
        },
    ]
    conductor.define(workflow={"tasks": tasks})
    conductor.start()
    task = conductor.poll()
    conductor.update(task, "COMPLETED", outputData={"v": "x" * (3 * 1024 * 1024 + 100)})
    shown = conductor.task(task)
    assert shown["outputData"] == {}
    assert shown["externalOutputPayloadStoragePath"]
    moved = conductor.poll()
    assert moved["inputData"] == {}
    assert moved["externalInputPayloadStoragePath"]
    answer = conductor.update(moved, "COMPLETED", outputData={"v": "x" * (11 * 1024 * 1024)})
    assert answer.status == 200
    refused = conductor.task(moved)
    assert refused["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "greater than the permissible limit: 10485760 bytes" in refused["reasonForIncompletion"]
