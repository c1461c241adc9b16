"""What a worker says of a state directory that may not outlive it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.conductor import Conductor
from support.worker import Worker


def warning(worker: Worker) -> str:
    """The warning of a worker that has started, as people and the log get it."""
    (found,) = worker.records("declaration_warning", finding="PERAGO-STATE-VOLUME")
    message = str(found["message"])
    hint = "  hint: set PERAGO_STATE_DIR to a folder on a local disk that outlives the worker"
    assert f"warning: {message}\n{hint}\n" in "\n".join(worker.stderr)
    return message


def test_a_temporary_folder(
    conductor: Conductor, task_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conductor.define(task_name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Worker(tmp_path / "worker", conductor.url, task_name) as worker:
        said = warning(worker)
    assert "in the temporary folder" in said or "in memory" in said, said


def test_memory(conductor: Conductor, task_name: str, tmp_path: Path, small_disk: Path) -> None:
    conductor.define(task_name)
    state = small_disk / "state"
    with Worker(tmp_path, conductor.url, task_name, PERAGO_STATE_DIR=str(state)) as worker:
        assert warning(worker).startswith(f"the state directory {state} lies in memory (tmpfs): ")
