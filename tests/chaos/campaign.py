"""Executors and supervisors killed at random moments while bodies record, and the books of it.

`Campaign.run` returns `Figures`; `Figures.problems` is empty when nothing was lost, doubled or halved.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.conductor import Conductor
from support.processes import Process
from support.waiting import until
from support.worker import Worker

from .ledger import Findings, Ledger
from .stores import History, WholeStore

MODULES = Path(__file__).resolve().parent / "modules"
LOOK_EVERY_SECONDS = 20.0
# What a worker logs when a sample or a total is not what it should be.
COMPLAINTS = {
    "metric_refused",
    "metric_warning",
    "metrics_damaged",
    "metrics_order_not_persisted",
    "metrics_partly_rejected",
    "metrics_set_aside",
    "metrics_unreadable",
}
# A successor that is killed while it starts lives for at most this long.
LONGEST_START_SECONDS = 0.6
GAUGES_SHOWN_SECONDS = 10.0


@dataclass(frozen=True)
class Plan:
    """What is broken, how often, and what records meanwhile."""

    seconds: float
    kills: int = 0
    supervisor_kills: int = 0
    child_kills: int = 0
    slots: int = 4
    threads: int = 4
    children: int = 0
    pause_milliseconds: float = 0
    export_milliseconds: int = 500
    seed: int = 0


@dataclass
class Figures:
    """What happened, and what the store showed after it."""

    seconds: float = 0
    executor_kills: int = 0
    child_kills: int = 0
    supervisor_kills: int = 0
    findings: Findings = field(default_factory=Findings)
    series: int = 0
    samples: int = 0
    falls: int = 0
    problems: list[str] = field(default_factory=list)


class Campaign:
    """One worker under attack, with its successors on the same state directory."""

    def __init__(
        self, plan: Plan, conductor: Conductor, store: WholeStore, folder: Path, **variables: str
    ) -> None:
        self.plan = plan
        self.task = f"chaos.{uuid.uuid4().hex[:12]}"
        self.figures = Figures()
        self.witnesses = folder / "witnesses"
        self.witnesses.mkdir(parents=True)
        self._conductor = conductor
        self._root = folder / "worker"
        self._random = random.Random(plan.seed)
        self._store = store
        self._history = History(store, self.task)
        self._variables = {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": store.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": str(plan.export_milliseconds),
            "PERAGO_INSTANCE_ID": self.task,
            # The campaign is about totals; a crash loop's growing delays would only make it longer.
            "PERAGO_RESTART_MAX_DELAY": "1ms",
            "PYTHONPATH": str(MODULES),
            **variables,
        }
        self._killed: set[int] = set()
        self._slots = plan.slots
        conductor.define(self.task)

    def run(self) -> Figures:
        """Carry out the plan, stop, and compare."""
        started = time.monotonic()
        worker = self._started()
        try:
            with self._fed():
                worker = self._attack(worker)
                until(lambda: self._every_slot_records(worker), "a living writer for every gauge", 60)
                (self.witnesses / "stop").touch()
            self._settle(worker)
            code = worker.stop()
            self._problem_unless(code == 0, f"the worker ended with {code}: {worker.stderr}")
        finally:
            worker.end()
        self.figures.seconds = time.monotonic() - started
        self._history.look()
        self.figures.findings = Ledger(self.witnesses).compare(self._history)
        self.figures.problems += self.figures.findings.problems
        falls = self._history.falls()
        self.figures.falls = len(falls)
        self.figures.problems += falls
        self.figures.series = len(self._history.series)
        self.figures.samples = self._history.samples
        self._check_in_flight()
        complaints = [one for one in worker.records() if one["event"] in COMPLAINTS]
        complaints += worker.records(source="perago.metrics")
        self._problem_unless(not complaints, f"{len(complaints)} complaints in the log: {complaints[:3]}")
        return self.figures

    def _started(self) -> Worker:
        return Worker(
            self._root, self._conductor.url, self.task, "-j", str(self._slots),
            module="under_attack", **self._variables,
        )  # fmt: skip

    @contextmanager
    def _fed(self) -> Iterator[None]:
        """Keep more tasks queued than there are slots."""
        over = threading.Event()
        plan = self.plan
        seconds = random.Random(plan.seed + 1)

        def feed() -> None:
            while not over.wait(0.1):
                for _ in range(2 * plan.slots - self._conductor.queue_size(self.task)):
                    params = {
                        "folder": str(self.witnesses),
                        "seconds": seconds.uniform(0.5, 4),
                        "threads": plan.threads,
                        "children": plan.children,
                        "pause_milliseconds": plan.pause_milliseconds,
                    }
                    self._conductor.start(self.task, params)

        feeder = threading.Thread(target=feed, name="feeder")
        feeder.start()
        try:
            yield
        finally:
            over.set()
            feeder.join()

    def _attack(self, worker: Worker) -> Worker:
        """Kill at random moments until the time is over; return the worker that lives at the end."""
        worker.wait_ready()
        plan, begun = self.plan, time.monotonic()
        moments = [
            (self._random.uniform(0, plan.seconds), victim)
            for victim, kills in (
                ("executor", plan.kills),
                ("supervisor", plan.supervisor_kills),
                ("child", plan.child_kills),
            )
            for _ in range(kills)
        ]
        looked = begun
        for moment, victim in [*sorted(moments), (plan.seconds, "nobody")]:
            while (left := begun + moment - time.monotonic()) > 0:
                time.sleep(min(left, 1))
                if time.monotonic() - looked > LOOK_EVERY_SECONDS:
                    self._history.look()
                    looked = time.monotonic()
            if victim == "executor":
                self._kill_one(worker, is_child=False)
                self.figures.executor_kills += 1
            elif victim == "child":
                self._kill_one(worker, is_child=True)
                self.figures.child_kills += 1
            elif victim == "supervisor":
                worker = self._kill_supervisor(worker)
        return worker

    def _kill_one(self, worker: Worker, is_child: bool) -> None:
        """Kill one executor, or one that a body has forked from it, whatever it does."""

        def victims() -> list[Process]:
            guardian = worker.guardian().pid
            return [
                process
                for process in worker.executors()
                if process.pid not in self._killed and (process.parent != guardian) == is_child
            ]

        while True:
            victim = self._random.choice(until(victims, "somebody to kill"))
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self._killed.add(victim.pid)
            return

    def _kill_supervisor(self, worker: Worker) -> Worker:
        """Kill the supervisor and start another on its state, which every other time dies while it starts.

        A successor has all slots or half of them, so that the totals of slots that are gone have to stay.
        """
        worker.signal(signal.SIGKILL)
        worker.wait()
        self.figures.supervisor_kills += 1
        self._slots = self._random.choice((self.plan.slots, max(1, self.plan.slots // 2)))
        if self.figures.supervisor_kills % 2 == 0:
            early = self._started()
            time.sleep(self._random.uniform(0, LONGEST_START_SECONDS))
            early.signal(signal.SIGKILL)
            early.wait()
            self.figures.supervisor_kills += 1
            self._slots = self._random.choice((self.plan.slots, max(1, self.plan.slots // 2)))
        successor = self._started()
        successor.wait_ready()
        return successor

    def _every_slot_records(self, worker: Worker) -> bool:
        """Whether every thread and child of an executor for each slot has recorded into every series."""
        guardian = worker.guardian().pid
        executors = {process.pid for process in worker.executors() if process.parent == guardian}
        recorders = range(self.plan.threads + self.plan.children)
        recorded = {
            (witness.executor, witness.recorder)
            for witness in Ledger(self.witnesses).witnesses
            if all(witness.steps)
        }
        expected = {(executor, recorder) for executor in executors for recorder in recorders}
        return len(executors) == self._slots and expected <= recorded

    def _settle(self, worker: Worker) -> None:
        """Wait until no body runs and the store knows it, and look at the gauges before they end."""

        def idle() -> bool:
            shown = self._store.query("runtime.busy_slots", task_name=self.task)
            return [one["value"] for one in shown] == [0.0]

        # Tasks that a killed supervisor held stay claimed: they are no concern of this worker.
        until(lambda: self._conductor.queue_size(self.task) == 0, "an empty queue")
        until(idle, "a gauge of busy slots that is 0")
        problems: list[str] = []

        def shown() -> bool:
            self._history.look()
            living = {process.pid for process in worker.executors()}
            problems[:] = Ledger(self.witnesses).gauge_problems(self._history, living)
            return not problems

        # The push that said idle may be older than the last bodies: the next one has what they set.
        with suppress(AssertionError):
            until(shown, "the gauges of living executors", GAUGES_SHOWN_SECONDS)
        self.figures.problems += problems

    def _check_in_flight(self) -> None:
        """At most one call in flight for each kill and recording thread."""
        plan, figures = self.plan, self.figures
        killed = figures.executor_kills + figures.supervisor_kills * plan.slots + figures.child_kills
        most = killed * (plan.threads + plan.children)
        in_flight = figures.findings.in_flight
        self._problem_unless(in_flight <= most, f"{in_flight} calls in flight, more than {most}")

    def _problem_unless(self, is_so: bool, problem: str) -> None:
        if not is_so:
            self.figures.problems.append(problem)
