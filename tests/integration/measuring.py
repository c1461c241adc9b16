"""Runs the measured task in a real worker, and says what a store must hold afterwards."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.conductor import Conductor
from support.victoria_metrics import Naming, VictoriaMetrics
from support.waiting import until
from support.worker import Worker

MODULES = Path(__file__).parent / "modules"
_NUMBERS = itertools.count(1)

CHUNKS = [0, 0.005, 3, 12, 12, 250, 2_000_000]
SECONDS = [0.004, 0.25, 1.5, 90, 30_000]
SIZES = [100, 4096, 5_000_000, 2**41]

# Written out here, not read from the code: dashboards and alerts of users rely on these.
GENERAL_BOUNDS = [step * 10.0**power for power in range(-2, 6) for step in (1, 2.5, 5)]
GENERAL_BOUNDS = [0.005, *GENERAL_BOUNDS, 1_000_000.0]
SECONDS_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800]
SECONDS_BOUNDS = [*SECONDS_BOUNDS, 3600, 10_800, 21_600]
BYTES_BOUNDS = [1024.0 * 4**power for power in range(16)]

ATTEMPTS = "runtime.task_attempt_duration_seconds"
BUSY = "runtime.busy_slots"


@dataclass(frozen=True)
class Server:
    """A store, and how it names things."""

    store: VictoriaMetrics
    naming: Naming

    def selector(self, name: str, **labels: str) -> str:
        """Return a selector of one metric in the form of the guide."""
        matchers = [f'__name__="{self.naming.shown(name)}"', *(f'{k}="{v}"' for k, v in labels.items())]
        return "{" + ",".join(matchers) + "}"

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the only series of a metric with these labels, None without one."""
        return self.store.value(self.selector(name, **labels))


@dataclass(frozen=True)
class Switches:
    """The three switches of a `MetricSpec`."""

    attempts: bool
    workspace_io: bool
    worker_capacity: bool

    @property
    def names(self) -> list[str]:
        """Those that are on."""
        return [name for name, is_on in vars(self).items() if is_on]

    def __str__(self) -> str:
        return "+".join(self.names) or "none"


COMBINATIONS = [Switches(*values) for values in itertools.product([True, False], repeat=3)]


@dataclass
class Measured:
    """One worker's run: what it did, and what was seen while it did it."""

    server: Server
    switches: Switches
    task: str = field(default_factory=lambda: f"integration.{uuid.uuid4().hex[:8]}.{next(_NUMBERS)}")
    instance: str = field(default_factory=lambda: f"integration-{os.getpid()}-{next(_NUMBERS)}")
    attempts: int = 0
    bodies: int = 0
    wall_seconds: float = 0.0
    timer_inside: float = 0.0
    timer_outside: float = 0.0
    seen: dict[str, float | None] = field(default_factory=dict)
    warnings: list[dict[str, Any]] = field(default_factory=list)

    def worker(self, root: Path, conductor: Conductor, *arguments: str, **variables: str) -> Worker:
        """Start a worker that pushes to the server."""
        return Worker(
            root,
            conductor.url,
            self.task,
            *arguments,
            module="measured",
            SUITE_SWITCHES=",".join(self.switches.names),
            PYTHONPATH=str(MODULES),
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=self.server.store.endpoint,
            OTEL_METRIC_EXPORT_INTERVAL="300",
            PERAGO_INSTANCE_ID=self.instance,
            **variables,
        )

    def run(self, conductor: Conductor, outcome: str = "completed", **params: Any) -> dict[str, Any]:
        """Run one attempt to its end, and count it."""
        params = {"chunks": CHUNKS, "seconds": SECONDS, "sizes": SIZES, "outcome": outcome, **params}
        task = conductor.wait_task(conductor.start(self.task, params))
        self.attempts += 1
        self.bodies += 1
        return task


def measure(server: Server, switches: Switches, conductor: Conductor, root: Path) -> Measured:
    """Run attempts of every outcome in a worker, with a look at its gauges on the way, and stop it."""
    run = Measured(server, switches)
    capacity = {"task_name": run.task, "perago_instance_id": run.instance}
    meeting = root / "meeting"
    meeting.mkdir(parents=True)
    conductor.define(run.task)
    started_at = time.monotonic()
    with run.worker(root, conductor, "-j", "2") as worker:
        statuses = {
            outcome: run.run(conductor, outcome, folder=str(_open(root / outcome)))["status"]
            for outcome in ("completed", "failed", "terminal", "exit")
        }
        assert statuses == {
            "completed": "COMPLETED",
            "failed": "FAILED",
            "terminal": "FAILED_WITH_TERMINAL_ERROR",
            "exit": "FAILED",
        }
        # Parameters that do not fit: an attempt, of which the body never runs.
        assert run.run(conductor, chunks="none")["status"] == "FAILED"
        run.bodies -= 1

        gated = conductor.start(run.task, {"folder": str(meeting)})
        until((meeting / "started").exists, "a running body")
        run.seen["queue_depth"] = until(
            lambda: server.value("app.queue_depth", task_name=run.task), "the gauge of the body"
        )
        if switches.worker_capacity:
            until(lambda: server.value(BUSY, **capacity) == 1.0, "a busy slot")
        (meeting / "go").touch()
        assert conductor.wait_task(gated)["status"] == "COMPLETED"
        run.attempts += 1
        run.seen["model_calls_while_alive"] = until(
            lambda: server.value("app.model_call_count", task_name=run.task) == run.bodies + 1 or None,
            "every timer's sample, exported at the interval",
        )
        if switches.worker_capacity:
            until(lambda: server.value(BUSY, **capacity) == 0.0, "no busy slot")
        run.warnings = worker.records(source="perago.metrics")
        assert worker.stop() == 0
    run.wall_seconds = time.monotonic() - started_at
    for path in root.glob("*/*.timer"):
        inside, outside = map(float, path.read_text().split())
        run.timer_inside += inside
        run.timer_outside += outside
    return run


def naming_of(store: VictoriaMetrics, conductor: Conductor, root: Path) -> Naming:
    """Find out how a server names things, from what it makes of a worker's gauge."""
    run = Measured(Server(store, Naming.OPENTELEMETRY), Switches(False, False, False))
    conductor.define(run.task)
    with run.worker(root, conductor):
        run.run(conductor)

        def shown() -> list[Naming]:
            names = [one["__name__"] for one in store.series(f'{{task_name="{run.task}"}}')]
            return [naming for naming in Naming if naming.shown("app.queue_depth") in names]

        (found,) = until(shown, f"series of task {run.task}: does {store.endpoint} take OTLP metrics?")
    return found


def _open(folder: Path) -> Path:
    """A meeting place at which nobody waits."""
    folder.mkdir(parents=True)
    (folder / "go").touch()
    return folder
