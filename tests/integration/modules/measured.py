"""A task whose samples a test knows beforehand; the test chooses its name and its switches."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, TaskTerminalError, task

SWITCHES = os.environ["SUITE_SWITCHES"].split(",")


class Params(BaseModel):
    outcome: str = "completed"
    chunks: list[float] = []
    seconds: list[float] = []
    sizes: list[float] = []
    folder: Path | None = None


class Result(BaseModel):
    inside: float
    outside: float


@task(
    name=os.environ["SUITE_TASK"],
    owner_email="tests@example.com",
    metrics=MetricSpec(
        attempts="attempts" in SWITCHES,
        workspace_io="workspace_io" in SWITCHES,
        worker_capacity="worker_capacity" in SWITCHES,
    ),
)
def measured(params: Params, metrics: MetricRecorder) -> Result:
    metrics.gauge("queue_depth", 3)
    for chunk in params.chunks:
        metrics.histogram("audio_chunks", chunk, labels={"stage": "decode", "format": "wav"})
    for second in params.seconds:
        metrics.histogram("render_seconds", second)
    for size in params.sizes:
        metrics.histogram("upload_bytes", size, labels={"target": "cold", "task_name": "forged"})
    before = time.perf_counter()
    with metrics.timer("model_call", labels={"provider": "openai"}):
        entered = time.perf_counter()
        if params.folder is not None:
            (params.folder / "started").touch()
            while not (params.folder / "go").exists():
                time.sleep(0.01)
        inside = time.perf_counter() - entered
    outside = time.perf_counter() - before
    if params.folder is not None:
        (params.folder / f"{time.monotonic_ns()}.timer").write_text(f"{inside} {outside}")
    match params.outcome:
        case "failed":
            raise RuntimeError("as the test asked")
        case "terminal":
            raise TaskTerminalError("as the test asked")
        case "exit":
            os._exit(3)
    return Result(inside=inside, outside=outside)
