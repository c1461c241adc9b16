"""A state directory on a disk that fills up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.metrics import MetricStore, value_is
from support.waiting import until
from support.worker import Worker

MEBIBYTE = 1 << 20


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (MEBIBYTE, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    assert os.statvfs(disk).f_bavail == 0
    return filler


StartWorker = Callable[..., Worker]


@pytest.fixture
def start_worker(
    conductor: Conductor, settings: dict[str, str], tmp_path: Path, task_name: str, small_disk: Path
) -> StartWorker:
    """Start a worker of the task whose state is on the small disk."""
    conductor.define(task_name)
    own = {"PERAGO_STATE_DIR": str(small_disk / "state"), "PERAGO_WORKER_METRICS": "1"}

    def start(module: str, *arguments: str, **variables: str) -> Worker:
        given = {**settings, **own, **variables}
        return Worker(tmp_path, conductor.url, task_name, *arguments, module=module, **given)

    return start


def test_a_full_disk_kills_nobody_stops_polling_and_is_left_behind(
    conductor: Conductor,
    store: MetricStore,
    start_worker: StartWorker,
    task_name: str,
    folder: Path,
    small_disk: Path,
) -> None:
    task = {"task_name": task_name}
    with start_worker("switched", "-j", "2", PERAGO_METRIC_LABEL_SETS="100") as worker:
        until(lambda: len(worker.executors()) == 2, "two executors")
        executors = worker.executors()
        # This body begins before the disk is full, and records most of its samples after.
        running = conductor.start(task_name, {"folder": str(folder), "count": 10})
        until(lambda: (folder / "started").exists(), "the body's start")
        filler = fill(small_disk)
        full = worker.wait_record("state_disk_full")
        assert full["level"] == "ERROR"
        assert full["path"] == str(small_disk / "state")
        until(lambda: store.value("perago.state_directory_free_bytes", **task) == 0, "no free byte")
        waiting = conductor.start(task_name, {"labels": 400})
        (folder / "go").touch()
        assert conductor.wait(running)["status"] == "COMPLETED"
        until(lambda: store.value("perago.busy_slots", **task) == 0, "free slots")
        # A poll that was in flight may have brought it; then it was given back.
        until(lambda: conductor.last_task(waiting)["status"] == "SCHEDULED", "a task that waits")
        assert len(worker.records("task_received")) == 1
        value_is(store, 10, "app.items_count", **task)
        assert worker.executors() == executors, "an executor died"

        filler.unlink()
        worker.wait_record("state_disk_recovered")
        assert conductor.wait(waiting)["status"] == "COMPLETED"
        # One label set beyond another shares a series; nothing is lost, and what is dropped is counted.
        until(lambda: store.value("app.labelled_count", **task) == 400, "every sample")
        value_is(store, 2, "perago.dropped_samples_total", reason="value_negative", **task)
        assert worker.executors() == executors
        assert len(worker.records("state_disk_full")) == 1
        assert worker.stop() == 0


def test_bodies_go_on_recording_on_a_disk_without_a_free_byte(
    conductor: Conductor,
    store: MetricStore,
    start_worker: StartWorker,
    task_name: str,
    folder: Path,
    small_disk: Path,
) -> None:
    """The blocks of the metrics files are allocated before any body writes to them: there is no SIGBUS."""
    task = {"task_name": task_name}
    with start_worker("late", PERAGO_METRIC_LABEL_SETS="200") as worker:
        (executor,) = worker.executors()
        run = conductor.start(task_name, {"folder": str(folder), "labels": 2_000})
        until(lambda: (folder / "started").exists(), "the body's start")
        fill(small_disk)
        (folder / "go").touch()
        assert conductor.wait(run)["status"] == "COMPLETED"
        # Two hundred label sets have series of their own; those beyond share one, and none is lost.
        until(lambda: store.value("app.late_count", **task) == 2_000, "every sample")
        assert worker.executors() == [executor]
        assert worker.stop() == 0


def test_a_worker_is_not_started_on_a_full_disk(start_worker: StartWorker, small_disk: Path) -> None:
    fill(small_disk)
    worker = start_worker("switched")
    try:
        assert worker.wait() != 0
        said = "\n".join(worker.stderr)
        assert "No space left on device" in said, said
    finally:
        worker.end()
