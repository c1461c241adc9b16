"""A task that records after a test has let it, each time under another label."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, task


class Params(BaseModel):
    folder: Path
    labels: int


class Result(BaseModel):
    done: bool = True


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com", metrics=MetricSpec())
def late(params: Params, metrics: MetricRecorder) -> Result:
    (params.folder / "started").touch()
    while not (params.folder / "go").exists():
        time.sleep(0.01)
    for number in range(params.labels):
        metrics.histogram("late", 1, labels={"number": str(number)})
    return Result()
