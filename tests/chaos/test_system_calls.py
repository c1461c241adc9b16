"""A body that records makes no system call, shown by a kernel that would kill it for one."""

from __future__ import annotations

import platform
import signal
import uuid
from pathlib import Path

from support.conductor import Conductor
from support.metrics import value_is
from support.skips import not_allowed_here
from support.worker import Worker

from .campaign import MODULES
from .stores import WholeStore

ROUNDS = 20_000


def test_a_body_records_without_system_calls(conductor: Conductor, store: WholeStore, tmp_path: Path) -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        not_allowed_here(f"the number of exit(2) on {platform.machine()} is not known")
    task = f"chaos.{uuid.uuid4().hex[:12]}"
    conductor.define(task)
    variables = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": store.endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "PERAGO_INSTANCE_ID": task,
        "PYTHONPATH": str(MODULES),
    }
    with Worker(tmp_path, conductor.url, task, module="under_attack", **variables) as worker:
        for slip, status in ((False, 0), (True, -signal.SIGSYS)):
            params = {"action": "sealed", "folder": str(tmp_path), "rounds": ROUNDS, "slip": slip}
            ended = conductor.wait_task(conductor.start(task, params))
            assert ended["status"] == "COMPLETED", ended
            assert ended["outputData"]["result"]["status"] == status
        assert worker.stop() == 0
    # Besides, each time, 100 rounds of the parent and 100 of the child before it was sealed.
    value_is(store, 2 * (ROUNDS + 200), "app.measured_count", task_name=task)
    value_is(store, 2 * (ROUNDS + 200), "app.measured_seconds_count", task_name=task)
