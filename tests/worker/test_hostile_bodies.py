"""Bodies that do the worst they can, all at once, in both languages: each takes its own slot alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.conductor import Conductor
from support.waiting import until
from support.worker import Worker

from .conftest import Shared, new_task_name

MIB = 1 << 20
LIMIT_BYTES = 200 * MIB
# What a body is asked for, the code of its failure, and how the reason begins and goes on.
HOSTILE = {
    "panic": ({"text": "no such song"}, "body_raised", "", "no such song"),
    "abort": (
        {},
        "executor_killed",
        "the executor process was killed by SIGABRT while it ran the body",
        "; its last output:\nlast words",
    ),
    "overflow": (
        {},
        "executor_killed",
        "the executor process was killed by SIG",
        "while it ran the body",
    ),
    "leak": (
        {"number": 2 * LIMIT_BYTES},
        "attempt_memory_limit",
        "",
        "more than PERAGO_ATTEMPT_MEMORY_LIMIT",
    ),
    "leave": (
        {},
        "executor_killed",
        "the executor process was killed by SIGABRT while it ran the body",
        "last words",
    ),
    "_exit": (
        {"number": 7},
        "executor_exited",
        "the executor process exited with status 7 while it ran the body",
        "; its last output:\nlast words",
    ),
}
# What ends by nothing that it does itself.
ENDLESS = ("block", "child")
# One more for their neighbour.
SLOTS = len(HOSTILE) + len(ENDLESS) + 1


class Aftermath(NamedTuple):
    """What became of everybody."""

    shared: Shared
    language: str
    tasks: dict[str, dict[str, Any]]
    neighbour: dict[str, Any]
    started: set[int]


def meeting(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir()
    return folder


def started(folder: Path) -> int:
    """Wait until a body runs; return its process."""
    until((folder / "started").exists, f"the start of the body of {folder.name}")
    return int((folder / "started").read_text())


@pytest.fixture(scope="module")
def aftermath(
    conductor: Conductor, language: str, scenario: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Aftermath]:
    task = new_task_name()
    conductor.define(task, responseTimeoutSeconds=9)
    root = tmp_path_factory.mktemp("hostile")
    limits = {"PERAGO_ATTEMPT_MEMORY_LIMIT": f"{LIMIT_BYTES // MIB}MB", "PERAGO_CANCEL_GRACE": "500ms"}
    with Worker(root, conductor.url, task, "-j", str(SLOTS), program=scenario, **limits) as worker:
        until(lambda: len(worker.executors()) == SLOTS, "an executor for everybody")
        shared = Shared(conductor, worker, task)
        executor = {}
        runs = {}
        for name in ("neighbour", *ENDLESS):
            folder = meeting(root, name)
            runs[name] = shared.start("gate" if name == "neighbour" else name, folder=str(folder))
            executor[name] = started(folder)
        for name, (params, *_) in HOSTILE.items():
            runs[name] = shared.start(name, folder=str(meeting(root, name)), **params)
        for name in ENDLESS:
            conductor.terminate(runs[name])
            worker.wait_record("body_stopped", workflow_instance_id=runs[name])
        tasks = {name: conductor.wait_task(runs[name], 180) for name in runs if name != "neighbour"}
        # The one that runs all the while ends when it is told to, and in the process that it began in.
        assert executor["neighbour"] in {process.pid for process in worker.executors()}
        (root / "neighbour" / "go").touch()
        neighbour = conductor.wait_task(runs["neighbour"])
        started_by_bodies = {int(path.read_text()) for path in root.glob("*/child")}
        yield Aftermath(shared, language, tasks, neighbour, started_by_bodies)


@pytest.mark.parametrize("action", HOSTILE)
def test_each_is_a_failure_that_names_its_cause(aftermath: Aftermath, action: str) -> None:
    _, code, beginning, part = HOSTILE[action]
    task = aftermath.tasks[action]
    reason = str(task["reasonForIncompletion"])
    assert task["status"] == "FAILED", task
    assert reason.startswith(beginning)
    assert part in reason
    if aftermath.language == "rust" and action == "overflow":
        assert "has overflowed its stack" in reason
    failed = aftermath.shared.worker.wait_record("task_failed", task_id=task["taskId"])
    assert failed["failure_code"] == code


def test_the_neighbour_completes_in_its_own_process(aftermath: Aftermath) -> None:
    assert aftermath.neighbour["status"] == "COMPLETED"
    assert aftermath.neighbour["retryCount"] == 0


@pytest.mark.parametrize("action", ENDLESS)
def test_what_never_ends_is_killed_when_its_task_is_somebody_elses(aftermath: Aftermath, action: str) -> None:
    task = aftermath.tasks[action]
    assert task["status"] == "CANCELED"
    stopped = aftermath.shared.worker.wait_record("body_stopped", task_id=task["taskId"])
    assert stopped["killed"] is True


def test_nothing_that_they_started_is_left_and_all_slots_are_ready(
    aftermath: Aftermath, folder: Path
) -> None:
    shared = aftermath.shared
    # One of a body whose task was cancelled, one of a body that aborted.
    assert len(aftermath.started) == 2
    until(
        lambda: aftermath.started.isdisjoint(process.pid for process in shared.worker.processes()),
        "the end of what bodies have started",
    )
    folders = [meeting(folder, str(number)) for number in range(SLOTS)]
    runs = [shared.start("gate", folder=str(folder)) for folder in folders]
    # All at the same time, each in a process of its own.
    assert len({started(folder) for folder in folders}) == SLOTS
    for path in folders:
        (path / "go").touch()
    assert {shared.conductor.wait_task(run)["status"] for run in runs} == {"COMPLETED"}


def test_a_body_that_blocks_is_killed_when_the_server_times_its_task_out(
    conductor: Conductor, scenario: Path | None, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name, timeoutSeconds=1, timeoutPolicy="TIME_OUT_WF", responseTimeoutSeconds=1)
    with Worker(
        tmp_path, conductor.url, task_name, "-j", "2", program=scenario, PERAGO_CANCEL_GRACE="500ms"
    ) as worker:
        shared = Shared(conductor, worker, task_name)
        run = shared.start("block", folder=str(folder))
        executor = started(folder)
        neighbour = shared.run("environment")
        assert conductor.wait_task(run)["status"] == "TIMED_OUT"
        assert worker.wait_record("body_stopped", workflow_instance_id=run)["killed"] is True
        assert neighbour["status"] == "COMPLETED"
        beside = int(neighbour["outputData"]["result"]["number"])  # type: ignore[index]
        pids = {process.pid for process in worker.processes()}
        assert beside in pids
        assert executor not in pids
        assert worker.records("task_failed") == []
