"""What a body prints or logs, in the worker's log and in Conductor's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.conductor import Conductor
from support.worker import Worker

from .conftest import Shared


def body_records(shared: Shared, task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The lines of one body by their text."""
    found = shared.worker.records("body_log", task_id=task["taskId"])
    return {record["message"]: record for record in found}


def test_everything_a_body_says_is_logged_with_its_ids(shared: Shared) -> None:
    task: Any = shared.run("log", text="here")
    lines = {
        "printed here",
        "to stderr here",
        "logged here",
        "loguru here",
        "from a program here",
        "its error here",
        "no line end",
    }
    records = body_records(shared, task)
    assert set(records) == lines
    assert set(shared.conductor.task_log(task)) == lines
    for record in records.values():
        assert record["workflow_instance_id"] == task["workflowInstanceId"]
        assert (record["task_name"], record["retry_count"]) == (shared.task, 0)
        assert record["worker_id"] == "suite@testhost"
    logged = records["logged here"]
    assert (logged["level"], logged["source"], logged["colour"]) == ("WARNING", "author", "blue")
    assert records["loguru here"]["shape"] == "round"
    assert records["printed here"]["source"] == "stdout"
    assert records["to stderr here"]["source"] == "stderr"


def test_the_course_of_an_attempt_is_logged(shared: Shared) -> None:
    task: Any = shared.run("echo")
    until_finished = shared.worker.wait_record("task_finished", task_id=task["taskId"])
    assert until_finished["duration_seconds"] >= 0
    events = [record["event"] for record in shared.worker.records(task_id=task["taskId"])]
    assert events == ["task_received", "task_started", "task_finished"]


def test_a_flood_is_bounded_for_conductor_and_whole_in_the_log(shared: Shared) -> None:
    count = 20_000
    task: Any = shared.run("flood", number=count)
    assert task["status"] == "COMPLETED"
    entries = shared.conductor.task_log(task)
    assert len(entries) == 10, "a server with default settings shows ten"
    lines = "\n".join(entries).splitlines()
    assert len(lines) == 201
    assert lines[0].startswith("line 0 ")
    assert f"{count - 200} lines left out" in lines[100]
    assert lines[-1].startswith(f"line {count - 1} ")
    assert len(shared.worker.records("body_log", task_id=task["taskId"])) == count


def test_the_log_may_go_to_standard_output(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, PERAGO_LOG="stdout") as worker:
        task = conductor.wait_task(conductor.start(task_name, {"action": "log", "text": "out"}))
        assert worker.stop() == 0
        assert worker.log_files() == []
    records = [json.loads(line) for line in (tmp_path / "stdout").read_text().splitlines()]
    mine = [record for record in records if record.get("task_id") == task["taskId"]]
    assert {"task_received", "body_log", "task_finished"} <= {record["event"] for record in mine}
