"""Workers where containers run them: as the first process, without name and home, on one volume."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import containers
from support.conductor import Conductor
from support.containers import FirstProcess
from support.skips import not_allowed_here
from support.waiting import until
from support.worker import Worker

from .conftest import Shared


def require(wrapper: tuple[str, ...]) -> None:
    """Run no test of what the machine refuses."""
    reason = containers.refusal(wrapper)
    if reason is not None:
        not_allowed_here(f"namespaces of our own: {reason}")


@pytest.fixture
def first() -> tuple[str, ...]:
    """The wrapper that makes a worker the first process of its namespace."""
    require(containers.AS_FIRST_PROCESS)
    return containers.AS_FIRST_PROCESS


@pytest.fixture
def volume() -> Iterator[Path]:
    with containers.volume() as path:
        require(containers.on_one_volume(path))
        yield path


def test_the_first_process_collects_orphans_and_drains(
    first: tuple[str, ...], conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, wrapper=first) as worker:
        process = FirstProcess(worker)
        assert process.own_id() == 1
        process.leave_orphan(folder)
        until(lambda: not process.zombies(), "the collection of an orphan")
        assert conductor.wait(conductor.start(task_name, {"action": "echo"}))["status"] == "COMPLETED"
        assert process.stop() == 0


def test_a_worker_starts_again_on_the_volume_of_a_killed_container(
    first: tuple[str, ...], conductor: Conductor, task_name: str, tmp_path: Path, folder: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, wrapper=first) as worker:
        run = conductor.start(task_name, {"action": "child", "folder": str(folder)})
        until((folder / "started").exists, "the body's start")
        FirstProcess(worker).kill()
    lock = tmp_path / "workspaces" / ".perago-supervisor.lock"
    assert json.loads(lock.read_text())["supervisor_pid"] == 1
    (folder / "go").touch()
    # Its process id is that in the lock.
    with Worker(tmp_path, conductor.url, task_name, wrapper=first) as worker:
        task = conductor.wait_task(run)
        assert (task["status"], task["retryCount"], task["pollCount"]) == ("COMPLETED", 0, 2)
        assert worker.wait_record("predecessor_killed")["failed_task_ids"] == []
        assert FirstProcess(worker).stop() == 0


def test_a_lock_of_0_6_with_our_own_process_id_locks_nobody_out(
    first: tuple[str, ...], conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    lock = tmp_path / "workspaces" / ".perago-supervisor.lock"
    lock.parent.mkdir()
    lock.write_text('{"supervisor_pid": 1}\n')
    with Worker(tmp_path, conductor.url, task_name, wrapper=first) as worker:
        assert FirstProcess(worker).stop() == 0


def test_a_user_without_name_and_home_needs_one_volume_alone(
    volume: Path, conductor: Conductor, task_name: str
) -> None:
    conductor.define(task_name)
    durable, wrapper = volume / "durable", containers.on_one_volume(volume)
    with Worker(
        volume, conductor.url, task_name, "-j", "2", wrapper=wrapper, PERAGO_STATE_DIR=str(durable)
    ) as worker:
        shared = Shared(conductor, worker, task_name)
        task = shared.run("log", text="here")
        assert task["status"] == "COMPLETED", task
        task = shared.run("exit", number=3)
        assert "exited with status 3" in str(task["reasonForIncompletion"])
        assert shared.run("echo")["status"] == "COMPLETED"
        assert {path.stat().st_uid for path in durable.iterdir()} == {containers.NAMELESS_ID}
        assert worker.stop() == 0
