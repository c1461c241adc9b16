"""A task that records what a test tells it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, task


class Params(BaseModel):
    folder: Path | None = None
    fail: bool = False


class Result(BaseModel):
    done: bool = True


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com", metrics=MetricSpec())
def labelled(params: Params, metrics: MetricRecorder) -> Result:
    metrics.gauge("queue_depth", 3)
    metrics.histogram("audio_chunks", 12, labels={"stage": "decode", "format": "wav"})
    with metrics.timer("model_call", labels={"provider": "openai", "task_name": "forged", "worker_id": "w"}):
        pass
    if params.folder is not None:
        (params.folder / "started").touch()
        while not (params.folder / "go").exists():
            time.sleep(0.01)
    if params.fail:
        raise RuntimeError("failed")
    return Result()
