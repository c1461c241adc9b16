"""Names: what bodies see, what Conductor shows, which queue is polled."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from support.conductor import Conductor
from support.waiting import until
from support.worker import Worker

from .conftest import Shared


def test_slots_are_visible_and_stable_over_restarts(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, "-j", "2", PERAGO_INSTANCE_ID="gpu-7") as worker:

        def look() -> tuple[dict[str, str], int]:
            task: Any = conductor.wait_task(conductor.start(task_name, {"action": "environment"}))
            assert task["workerId"] == "suite@gpu-7"
            result = task["outputData"]["result"]
            return result["environment"], int(result["number"])

        first, pid = look()
        slot = first["PERAGO_SLOT"]
        assert slot in ("1", "2")
        assert first == {"PERAGO_WORKER_ID": f"suite000{slot}", "PERAGO_SLOT": slot, "PERAGO_SLOTS": "2"}
        until(lambda: len(worker.executors()) == 2, "both executors")
        os.kill(pid, signal.SIGKILL)
        until(lambda: worker.records("executor_exited"), "the executor's death")
        until(lambda: len(worker.executors()) == 2, "its successor")

        def again() -> bool:
            seen, successor = look()
            assert seen["PERAGO_WORKER_ID"] == f"suite000{seen['PERAGO_SLOT']}"
            return seen == first and successor != pid

        until(again, "the slot's successor")


def test_a_worker_polls_its_domain_alone(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    variable = f"CONDUCTOR_WORKER_{task_name.upper().replace('.', '_')}_DOMAIN"
    with Worker(tmp_path, conductor.url, task_name, **{variable: "staging"}) as worker:
        assert any(f"polling: {task_name} in domain staging on " in line for line in worker.stderr)
        production = conductor.start(task_name, {"action": "echo"})
        staging = conductor.start(task_name, {"action": "echo"}, taskToDomain={task_name: "staging"})
        assert conductor.wait(staging)["status"] == "COMPLETED"
        assert conductor.last_task(production)["status"] == "SCHEDULED"
        conductor.terminate(production)


def test_a_paused_worker_takes_nothing(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    run = conductor.start(task_name, {"action": "echo"})
    variables = {"CONDUCTOR_WORKER_ALL_PAUSED": "true", "CONDUCTOR_WORKER_ALL_POLL_INTERVAL": "100"}
    with Worker(tmp_path, conductor.url, task_name, **variables) as worker:
        assert any(line.startswith(f"paused, not polling: {task_name} on ") for line in worker.stderr)
        ignored = [line for line in worker.stderr if "POLL_INTERVAL" in line]
        assert ignored == ["warning: CONDUCTOR_WORKER_ALL_POLL_INTERVAL has no effect; it is ignored"]
        assert worker.records("worker_started")[0]["paused"] is True
        assert worker.stop() == 0
    assert conductor.last_task(run)["pollCount"] == 0
    with Worker(tmp_path, conductor.url, task_name):
        assert conductor.wait(run)["status"] == "COMPLETED"


def test_threads_run_side_by_side(conductor: Conductor, task_name: str, tmp_path: Path) -> None:
    conductor.define(task_name)
    arguments = ("-j", "4", "--execution-mode", "thread")
    with Worker(tmp_path, conductor.url, task_name, *arguments) as worker:
        folders = [tmp_path / f"body{number}" for number in range(4)]
        runs = []
        for folder in folders:
            folder.mkdir()
            runs.append(conductor.start(task_name, {"action": "gate", "folder": str(folder)}))
        until(lambda: all((folder / "started").exists() for folder in folders), "four bodies at once")
        pids = {(folder / "started").read_text() for folder in folders}
        assert len(pids) == 1
        assert len(worker.executors()) == 1
        (folders[0] / "go").touch()
        assert conductor.wait(runs[0])["status"] == "COMPLETED"
        # An exit in one thread leaves the other bodies alone.
        task: Any = conductor.wait_task(conductor.start(task_name, {"action": "exit", "number": 3}))
        assert task["status"] == "FAILED"
        assert task["reasonForIncompletion"] == (
            "the body raised SystemExit, which does not end a worker in thread mode"
        )
        said: Any = conductor.wait_task(conductor.start(task_name, {"action": "log", "text": "thread"}))
        assert "printed thread" in conductor.task_log(said)
        for folder in folders[1:]:
            (folder / "go").touch()
        for run in runs[1:]:
            assert conductor.wait(run)["status"] == "COMPLETED"
        assert not worker.records("executor_exited")
        assert worker.stop() == 0


def test_the_log_folder_names_module_and_worker(shared: Shared) -> None:
    shared.run("echo")
    (path,) = shared.worker.log_files()
    assert path.parent == shared.worker.root / "logs" / "scenario" / "worker_id=suite_testhost"
    assert path.name.startswith(f"pid={shared.worker.process.pid}__started=")
