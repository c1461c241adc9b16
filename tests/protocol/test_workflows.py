from __future__ import annotations

from typing import Any

from .client import Conductor


def test_a_run_of_two_steps_passes_values_on(conductor: Conductor) -> None:
    first = {"name": conductor.name, "taskReferenceName": "a", "type": "SIMPLE",
             "inputParameters": {"x": "${workflow.input.x}"}}  # fmt: skip
    inputs = {
        "object": "${a.output.o}", "item": "${a.output.l[1]}", "key": "${a.output.l[0].k}",
        "last": "${a.output.l[-1]}",
        "text": "v=${a.output.n} and ${a.output.missing}!", "map": "x${a.output.o}",
        "missing": "${a.output.nope}",
        "nested": {"q": ["${workflow.input.x}", 1]}, "null": None, "run": "${workflow.workflowId}",
        "status": "${a.status}", "task": "${a.taskId}", "type": "${workflow.workflowType}",
        "whole": "${workflow.input}",
        "version": "${workflow.version}", "beyond": "${a.output.l[9]}", "quoted": "${a.output['o']}",
        "escaped": "$${x.y}", "boolean": "b${a.output.t}", "list": "l${a.output.l}", "big": "${a.output.big}",
    }  # fmt: skip
    second = {"name": conductor.name, "taskReferenceName": "b", "type": "SIMPLE", "inputParameters": inputs}
    outputs = {"r": "${b.output.r}", "n": "${a.output.n}", "literal": 5}
    conductor.define(workflow={"tasks": [first, second], "outputParameters": outputs})
    run = conductor.start({"x": {"deep": [1]}})
    task_a = conductor.poll()
    assert task_a["inputData"] == {"x": {"deep": [1]}}
    output = {"o": {"p": 1, "q": "s", "r": None}, "l": [{"k": "v"}, 2.5], "n": 7, "t": True, "big": 2**70}
    assert conductor.update(task_a, "COMPLETED", outputData=output).text == task_a["taskId"]
    task_b = conductor.poll()
    assert task_b["inputData"] == {
        "object": {"p": 1, "q": "s", "r": None}, "item": 2.5, "key": "v", "last": 2.5,
        "text": "v=7 and null!", "map": "x{p=1, q=s, r=null}", "missing": None,
        "nested": {"q": [{"deep": [1]}, 1]}, "null": None, "run": run,
        "status": "COMPLETED", "task": task_a["taskId"], "type": conductor.name,
        "whole": {"x": {"deep": [1]}},
        "version": 1, "beyond": None, "quoted": {"p": 1, "q": "s", "r": None},
        "escaped": "${x.y}", "boolean": "btrue", "list": "l[{k=v}, 2.5]", "big": 2**70,
    }  # fmt: skip
    conductor.update(task_b, "COMPLETED", outputData={"r": None})
    shown = conductor.run(run)
    assert (shown["status"], shown["output"]) == ("COMPLETED", {"r": None, "n": 7, "literal": 5})
    assert [task["seq"] for task in shown["tasks"]] == [1, 2]
    assert shown["endTime"] >= shown["startTime"]


def test_without_output_parameters_the_last_output_is_the_runs(conductor: Conductor) -> None:
    conductor.define()
    run = conductor.start()
    conductor.update(conductor.poll(), "COMPLETED", outputData={"a": None, "b": {"c": [1, None]}})
    status = conductor.get(f"/workflow/{run}/status?includeOutput=true&includeVariables=true").json
    assert status == {
        "workflowId": run, "output": {"a": None, "b": {"c": [1, None]}}, "variables": {},
        "status": "COMPLETED",
    }  # fmt: skip
    assert conductor.get(f"/workflow/{run}/status").json == {"workflowId": run, "status": "COMPLETED"}
    assert conductor.get(f"/workflow/{run}?includeTasks=false").json["tasks"] == []


def test_both_forms_of_start_answer_plain_text(conductor: Conductor) -> None:
    conductor.define()
    by_name = conductor.post(
        f"/workflow/{conductor.name}?correlationId=c1&priority=7", {"x": 1}, Accept="application/json"
    )
    assert by_name.content_type.replace(" ", "").lower() == "text/plain;charset=utf-8"
    shown = conductor.run(by_name.text)
    assert (shown["input"], shown["correlationId"], shown["priority"]) == ({"x": 1}, "c1", 7)
    assert conductor.get(f"/workflow/running/{conductor.name}?version=1").json == [by_name.text]
    inline = {
        "name": "inline",
        "version": 1,
        "tasks": [{"name": conductor.name, "taskReferenceName": "a", "type": "SIMPLE"}],
    }
    run = conductor.start(workflowDef=inline)
    assert conductor.run(run)["workflowName"] == "inline"
    missing = conductor.post("/workflow", {"name": conductor.name + "-no"})
    assert missing.json["message"] == f"No such workflow defined. name={conductor.name}-no, version=null"
    assert missing.status == conductor.post(f"/workflow/{conductor.name}-no", {}).status == 404
    assert conductor.post("/workflow", {"input": {}}).status == 400
    assert conductor.post("/workflow", {"name": conductor.name, "priority": 100}).status == 400
    assert conductor.post(f"/workflow/{conductor.name}?version=x", {}).status == 500
    assert conductor.post(f"/workflow/{conductor.name}", [1]).status == 500


def test_a_task_without_definition_gets_an_implicit_one(conductor: Conductor) -> None:
    task = {"name": conductor.name, "taskReferenceName": "a", "type": "SIMPLE"}
    conductor.put("/metadata/workflow", [{"name": conductor.name, "version": 1, "tasks": [task]}])
    conductor.start()
    polled = conductor.poll()
    assert polled["taskDefinition"]["retryCount"] == 3
    assert polled["taskDefinition"]["retryDelaySeconds"] == 60
    assert polled["responseTimeoutSeconds"] == 3600


def test_an_optional_step_may_fail(conductor: Conductor) -> None:
    tasks = [
        {"name": conductor.name, "taskReferenceName": "a", "type": "SIMPLE", "optional": True},
        {"name": conductor.name, "taskReferenceName": "b", "type": "SIMPLE"},
    ]
    conductor.define(retryCount=0, workflow={"tasks": tasks})
    run = conductor.start()
    conductor.update(conductor.poll(), "FAILED", reasonForIncompletion="no luck")
    conductor.update(conductor.poll(), "COMPLETED")
    shown = conductor.run(run)
    assert shown["status"] == "COMPLETED"
    assert [task["status"] for task in shown["tasks"]] == ["COMPLETED_WITH_ERRORS", "COMPLETED"]


def test_pause_and_resume(conductor: Conductor) -> None:
    conductor.define(steps=2)
    run = conductor.start()
    assert conductor.put(f"/workflow/{run}/resume").status == 500
    assert conductor.put(f"/workflow/{run}/pause").status == 200
    conductor.update(conductor.poll(), "COMPLETED")
    shown = conductor.run(run)
    assert shown["status"] == "PAUSED"
    assert len(shown["tasks"]) == 1
    assert conductor.put(f"/workflow/{run}/resume").status == 200
    conductor.update(conductor.poll(), "COMPLETED")
    assert conductor.run(run)["status"] == "COMPLETED"
    assert conductor.put(f"/workflow/{run}/pause").status == 409


def test_terminate_cancels_and_remove_forgets(conductor: Conductor) -> None:
    conductor.define()
    run = conductor.start()
    task = conductor.poll()
    assert conductor.delete(f"/workflow/{run}?reason=enough").status == 200
    shown = conductor.run(run)
    assert (shown["status"], shown["reasonForIncompletion"]) == ("TERMINATED", "enough")
    assert shown["tasks"][0]["status"] == "CANCELED"
    late = conductor.update(task, "COMPLETED", outputData={"late": 1})
    assert (late.status, late.text) == (200, task["taskId"])
    assert conductor.task(task)["outputData"] == {}
    assert conductor.delete(f"/workflow/{run}/remove").status == 200
    assert conductor.get(f"/workflow/{run}").status == 404
    assert conductor.get(f"/tasks/{task['taskId']}").status == 404


def test_terminating_a_completed_run_is_a_conflict(conductor: Conductor) -> None:
    conductor.define()
    run = conductor.start()
    conductor.update(conductor.poll(), "COMPLETED")
    assert conductor.delete(f"/workflow/{run}").status == 409
    other = conductor.start()
    answer = conductor.post("/workflow/bulk/terminate?reason=r", [other, "nope"]).json
    assert answer["bulkSuccessfulResults"] == [other]
    assert answer["bulkErrorResults"] == {"nope": "No such workflow found by id: nope"}


def test_retry_of_a_failed_run_makes_a_new_attempt(conductor: Conductor) -> None:
    conductor.define(retryCount=0)
    run = conductor.start()
    running = conductor.post(f"/workflow/{run}/retry")
    assert (running.status, running.json["message"]) == (404, "Workflow is still running.  status=RUNNING")
    failed = conductor.poll()
    conductor.update(failed, "FAILED_WITH_TERMINAL_ERROR", reasonForIncompletion="fatal")
    shown = conductor.run(run)
    assert shown["status"] == "FAILED"
    assert shown["failedReferenceTaskNames"] == ["s0"]
    assert shown["failedTaskNames"] == [conductor.name]
    reason = f"Task {failed['taskId']} failed with status: FAILED and reason: 'fatal'"
    assert shown["reasonForIncompletion"] == reason
    assert conductor.post(f"/workflow/{run}/retry").status == 204
    again = conductor.poll()
    assert (again["retryCount"], again["retriedTaskId"]) == (1, failed["taskId"])
    conductor.update(again, "COMPLETED")
    assert conductor.run(run)["status"] == "COMPLETED"


def test_search_by_type_and_status(conductor: Conductor) -> None:
    conductor.define()
    done, running = conductor.start(), conductor.start()
    # Which of the two a poll brings is not defined.
    task = conductor.poll()
    done, running = (done, running) if task["workflowInstanceId"] == done else (running, done)
    conductor.update(task, "COMPLETED")

    def found(query: str) -> Any:
        path = f"/workflow/search?query={query.replace(' ', '%20')}&size=10&sort=startTime:DESC"
        return conductor.get(path).json

    everything = conductor.until(
        lambda: (page := found(f"workflowType='{conductor.name}'"))["totalHits"] == 2 and page
    )
    assert {row["workflowId"] for row in everything["results"]} == {done, running}

    def completed() -> Any:
        page = found(f"workflowType='{conductor.name}' AND status='COMPLETED'")
        return page["totalHits"] == 1 and page

    row = conductor.until(completed)["results"][0]
    assert (row["workflowId"], row["status"], row["input"]) == (done, "COMPLETED", "{}")
    assert row["startTime"].endswith("Z")
