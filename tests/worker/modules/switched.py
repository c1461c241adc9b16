"""A task whose MetricSpec a test chooses, or that has none."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, task


class Params(BaseModel):
    count: int = 1
    folder: Path | None = None
    labels: int = 0


class Result(BaseModel):
    done: bool = True


@task(
    name=os.environ["SUITE_TASK"],
    owner_email="tests@example.com",
    metrics=MetricSpec(**json.loads(os.environ.get("SUITE_SWITCHES", "{}"))),
)
def switched(params: Params, metrics: MetricRecorder) -> Result:
    for _ in range(params.count):
        metrics.histogram("items", 2)
    for number in range(params.labels):
        metrics.histogram("labelled", 1, labels={"number": str(number)})
    metrics.histogram("items", -1)
    if params.folder is not None:
        (params.folder / "started").touch()
        while not (params.folder / "go").exists():
            time.sleep(0.01)
    return Result()
