"""A task that records in the ways in which recorders lose samples."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, task

THREADS = 8
SAMPLES = 2_000


class Params(BaseModel):
    action: str
    folder: Path = Path()


class Result(BaseModel):
    done: bool = True


def record(metrics: MetricRecorder, number: int) -> None:
    """Record `SAMPLES` times in every way; only whole numbers, so that sums are exact."""
    for value in range(SAMPLES):
        metrics.histogram("items", value)
        metrics.histogram("by_number", 1, labels={"number": str(number), "kind": "constant"})
        with metrics.timer("blocks"):
            metrics.gauge("last", value, labels={"number": str(number)})


def in_threads(metrics: MetricRecorder) -> None:
    threads = [threading.Thread(target=record, args=(metrics, number)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


_inherited: list[MetricRecorder] = []


def record_in_child(number: int) -> None:
    record(_inherited[0], number)


def in_fork_pool(metrics: MetricRecorder) -> None:
    _inherited[:] = [metrics]
    with multiprocessing.get_context("fork").Pool(THREADS) as pool:
        pool.map(record_in_child, range(THREADS), chunksize=1)


def outlive(metrics: MetricRecorder, folder: Path) -> None:
    """Leave a thread behind that records once the test says so."""

    def late() -> None:
        while not (folder / "go").exists():
            time.sleep(0.01)
        record(metrics, 0)
        (folder / "recorded").touch()

    threading.Thread(target=late, daemon=True).start()


def end_a_program() -> None:
    """Start a program and end it in the usual way; it would run for long."""
    with subprocess.Popen(["sleep", "600"]) as program:
        program.terminate()


async def in_tasks(metrics: MetricRecorder) -> None:
    timer = metrics.timer("blocks")

    @metrics.timer("calls")
    async def call() -> None:
        async with timer, metrics.timer("blocks"):
            await asyncio.sleep(0)

    await asyncio.gather(*(call() for _ in range(SAMPLES)))


class Unshown:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def record_badly(metrics: Any) -> None:
    """Record content of every bad kind, and one good sample after each."""
    for value in (math.nan, math.inf, -1, 10**400):
        metrics.histogram("items", value)
        metrics.gauge("depth", value)
        metrics.histogram("good", 1)
    for name in ("", "a b", "x" * 300, "\ud800", "good_count"):
        metrics.histogram(name, 1)
        metrics.gauge(name, 1)
        metrics.histogram("good", 1)
    for key in ("task_id", "workflow_instance_id", "execution_id", "worker_id", "task_name", "le", "", None):
        metrics.histogram("good", 1, labels={key: "mine"})
    for text in (True, 1.0, None, b"ab", [1], {"a": 1}, Unshown(), "x" * 20_000, "\ud800"):
        metrics.histogram("texts", 1, labels={"k": text})
        metrics.histogram("good", 1)
    metrics.gauge("good", 1)


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com", metrics=MetricSpec())
def recording(params: Params, metrics: MetricRecorder) -> Result:
    match params.action:
        case "threads":
            in_threads(metrics)
        case "fork_pool":
            in_fork_pool(metrics)
        case "program":
            end_a_program()
        case "outlive":
            outlive(metrics, params.folder)
        case "tasks":
            asyncio.run(in_tasks(metrics))
        case "bad":
            record_badly(metrics)
    return Result()
