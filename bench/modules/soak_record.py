"""The task of the soak that records metrics."""

import time

from soak_shared import Params, Result, digest

from perago import MetricRecorder, MetricSpec, task


@task(name="bench.soak.record", owner_email="bench@example.com", metrics=MetricSpec())
def record(params: Params, metrics: MetricRecorder) -> Result:
    with metrics.timer("digesting", labels={"kind": str(params.number % 5)}):
        made = digest(str(params.number), params.text)
    time.sleep(params.seconds)
    metrics.gauge("last_number", params.number)
    metrics.histogram("handled", 1)
    return Result(digest=made)
