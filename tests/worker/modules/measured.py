"""A task that records what a test tells it to, in bounds that the environment tells."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, task

BUCKETS = json.loads(os.environ.get("SUITE_BUCKETS", "{}"))


class Params(BaseModel):
    values: dict[str, list[float]] = {}
    label_sets: int = 0


class Result(BaseModel):
    kibibytes_before: int
    kibibytes: int


def resident_kibibytes() -> int:
    """Memory that this process has in use."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0])


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com", metrics=MetricSpec(buckets=BUCKETS))
def measured(params: Params, metrics: MetricRecorder) -> Result:
    for name, values in params.values.items():
        for value in values:
            metrics.histogram(name, value)
    metrics.gauge("last_slot", 1.0, labels={"slot": os.environ["PERAGO_SLOT"]})
    before = resident_kibibytes()
    for number in range(params.label_sets):
        metrics.histogram("requests", 1.0, labels={"stage": "decode", "user": f"user-{number}"})
        metrics.histogram("steady", 2.0)
    return Result(kibibytes_before=before, kibibytes=resident_kibibytes())
