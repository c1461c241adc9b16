"""A store that is gone for a while under load: whether bodies, totals and the worker's end notice."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.conductor import Conductor
from support.waiting import until
from support.worker import Worker

from .campaign import MODULES, Campaign, Plan
from .stores import OwnVictoriaMetrics, WholeStore

SEALED_ROUNDS = 20_000
# Pushes often and gives up soon, so that a store that is gone is asked all the time.
EAGER = {"OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "1000"}
BREAKS: dict[str, Callable[[OwnVictoriaMetrics], None]] = {
    "refused": OwnVictoriaMetrics.stop,
    "hung": OwnVictoriaMetrics.hang,
}
MENDS: dict[str, Callable[[OwnVictoriaMetrics], None]] = {
    "refused": OwnVictoriaMetrics.start,
    "hung": OwnVictoriaMetrics.resume,
}


class Outage(Campaign):
    """Nobody is killed, but the store is gone in the middle; a sealed child records meanwhile."""

    def __init__(
        self, plan: Plan, conductor: Conductor, service: OwnVictoriaMetrics, folder: Path, how: str
    ) -> None:
        super().__init__(plan, conductor, WholeStore(service.url), folder, **EAGER)
        self._service = service
        self._how = how
        self.sealed_status = -1
        self.failed_pushes = 0

    def _attack(self, worker: Worker) -> Worker:
        worker.wait_ready()
        until(lambda: self._store.query("app.items_count", task_name=self.task), "the first samples", 60)
        BREAKS[self._how](self._service)
        ends_at = time.monotonic() + self.plan.seconds
        try:
            params = {"action": "sealed", "folder": str(self.witnesses), "rounds": SEALED_ROUNDS}
            ended = self._conductor.wait_task(self._conductor.start(self.task, params), 120)
            self.sealed_status = ended["outputData"]["result"]["status"]
            self._problem_unless(self.sealed_status == 0, f"the sealed child ended with {self.sealed_status}")
            time.sleep(max(0, ends_at - time.monotonic()))
        finally:
            MENDS[self._how](self._service)
        recovered = worker.wait_record("metrics_push_recovered")
        self.failed_pushes = recovered["failed_pushes"]
        return worker


@dataclass
class Speed:
    """How long the same body took with the store there and gone, pair by pair, in seconds."""

    pairs: int
    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    there: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median ratio by the clock."""
        return statistics.median(self.clock)

    @property
    def processor_ratio(self) -> float:
        """The median ratio of processor time."""
        return statistics.median(self.processor)


def worker_on(
    root: Path, conductor: Conductor, store: WholeStore, task: str, *arguments: str, **variables: str
) -> Worker:
    """Return a worker of the recording task, which pushes to `store`."""
    return Worker(
        root, conductor.url, task, *arguments, module="under_attack",
        **{
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": store.endpoint,
            "PERAGO_INSTANCE_ID": task,
            "PYTHONPATH": str(MODULES),
            **EAGER,
            **variables,
        },
    )  # fmt: skip


def measure(
    conductor: Conductor,
    service: OwnVictoriaMetrics,
    folder: Path,
    how: str,
    pairs: int,
    rounds: int,
    slots: int,
) -> Speed:
    """Run bodies that do nothing but record, on every slot at once, with the store there and gone in turn."""
    task = f"chaos.{uuid.uuid4().hex[:12]}"
    conductor.define(task)
    store = WholeStore(service.url)
    speed = Speed(pairs)

    def seconds() -> tuple[float, float]:
        params = {"action": "measure", "folder": str(folder), "rounds": rounds}
        runs = [conductor.start(task, params) for _ in range(slots)]
        results = [conductor.wait_task(run, 300)["outputData"]["result"] for run in runs]
        return (
            statistics.fmean(result["seconds"] for result in results),
            statistics.fmean(result["processor_seconds"] for result in results),
        )

    def gone() -> tuple[float, float]:
        BREAKS[how](service)
        try:
            return seconds()
        finally:
            MENDS[how](service)
            pushed_again(store, task)

    with worker_on(folder, conductor, store, task, "-j", str(slots)) as worker:
        until(lambda: len(worker.executors()) == slots, "every executor")
        seconds()
        pushed_again(store, task)
        for number in range(pairs):
            # Each goes first in half of the pairs.
            if number % 2:
                without, there = gone(), seconds()
            else:
                there, without = seconds(), gone()
            speed.there.append(there[0])
            speed.clock.append(without[0] / there[0])
            speed.processor.append(without[1] / there[1])
        assert worker.stop() == 0
    return speed


def pushed_again(store: WholeStore, task: str) -> None:
    """Wait until a sample arrives that is younger than now."""
    now = time.time() * 1000

    def arrived() -> bool:
        series = store.export(task_name=task, __name__="app.measured_count")
        return any(max(samples, default=0) > now for samples in series.values())

    until(arrived, "a push", 60)
