"""Everything broken at once: executors and supervisors killed, services away, calls that fail at random.

`WholeCampaign.run` returns `Report`; its `problems` are empty when nothing was lost, doubled or left behind.
"""

from __future__ import annotations

import random
import time
from collections import Counter as Tally
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.conductor import FINAL
from support.lake import KEY
from support.waiting import until
from support.workshop import Store

from .campaign import MODULES
from .chains import Chains, Run, Verdict
from .crew import Instance
from .ledger import Findings
from .notes import Notes
from .services import Services

# A real server is busy enough without our questions.
LOOK_EVERY_SECONDS = {"embedded": 0.25, "real": 2.0}
SETTLED_WITHIN_SECONDS = 300.0
TIDY_WITHIN_SECONDS = 30.0
LONG_SHARE = 0.02


@dataclass(frozen=True)
class Plan:
    """What is broken, and how often.

    Attributes:
        attempts: How many bodies begin before the last runs are let end.
        seed: Of everything that is random here; what the machine does meanwhile is not.
        slots: Of each of the four workers.
        fault_rate: How probable each kind of fault is at each call.
        response_seconds: After so long without a sign a task is given to somebody else.
        longest_away_seconds: How long a service is away at most.

    """

    attempts: int = 2000
    seed: int = 0
    slots: int = 2
    fault_rate: float = 0.005
    response_seconds: int = 5
    longest_away_seconds: float = 2.0
    executor_kills: int = 0
    supervisor_kills: int = 0
    lake_kills: int = 0
    engine_cuts: int = 0
    engine_restarts: int = 0
    metrics_breaks: int = 0
    foreign_commits: int = 0

    @staticmethod
    def for_attempts(attempts: int, seed: int, is_real: bool) -> Plan:
        """Break as much as so many attempts bear."""
        return Plan(
            attempts=attempts,
            seed=seed,
            response_seconds=10 if is_real else 5,
            executor_kills=attempts // 10,
            supervisor_kills=attempts // 30,
            lake_kills=max(1, attempts // 80),
            engine_cuts=max(1, attempts // 80),
            # A real server takes a quarter of a minute to start.
            engine_restarts=max(1, attempts // 1000) if is_real else 0,
            metrics_breaks=max(1, attempts // 200),
            foreign_commits=attempts // 8,
        )


@dataclass
class Report:
    """What happened, and what was found at the end."""

    seconds: float = 0
    attempts: int = 0
    runs: int = 0
    executor_kills: int = 0
    supervisor_kills: int = 0
    restarts: int = 0
    seconds_to_gone: list[float] = field(default_factory=list)
    breaks: Tally[str] = field(default_factory=Tally)
    faults: Tally[str] = field(default_factory=Tally)
    verdict: Verdict = field(default_factory=Verdict)
    books: list[Findings] = field(default_factory=list)
    events: Tally[str] = field(default_factory=Tally)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The figures for people."""
        verdict = self.verdict
        finished = sum(one.finished for one in self.books)
        in_flight = sum(one.in_flight for one in self.books)
        gone = max(self.seconds_to_gone, default=0)
        return [
            f"{self.attempts} bodies begun in {self.seconds:.0f} s, {verdict.claims} claims, "
            f"{verdict.retries} retries",
            f"SIGKILL: {self.executor_kills} executors, {self.supervisor_kills} supervisors "
            f"(processes gone within {gone:.3f} s); {self.restarts} workers ended by themselves",
            f"services: {_listed(self.breaks)}",
            f"calls: {_listed(self.faults)}",
            f"workers: {_listed(self.events)}",
            f"workflows finished: {verdict.finished} of {self.runs}",
            f"results as the body returned them: {verdict.results}",
            f"branches as the last attempts left them: {verdict.branches}",
            f"commits: {verdict.commits}; {verdict.steady_commits} of steps with the same content each time,"
            f" one a step, of which {verdict.steady_again} returned more than once; "
            f"{verdict.replaced_commits} replaced by an attempt with another content",
            f"steps that the server has as completed twice: {verdict.completed_twice or 'none'}",
            f"commits of others: {verdict.foreign_commits}, all there",
            f"samples: {finished:,} compared, {in_flight} in flight at kills, none halved or doubled",
            f"problems: {len(self.problems)}",
        ]


def _listed(tally: Tally[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(tally.items()) if count) or "nothing"


# What the log of workers shows of the ways that attempts took.
TOLD_EVENTS = (
    "result_recovered",
    "task_recovered",
    "task_forgotten",
    "result_kept",
    "result_superseded",
    "result_undelivered",
    "task_lost",
    "garbage_removed",
)


class WholeCampaign:
    """Two workers of each task of a chain, between services that come and go.

    Args:
        plan: What is broken.
        services: Started ones.
        folder: Of the workers.
        say: Told now and then how far it is.
    """

    def __init__(
        self, plan: Plan, services: Services, folder: Path, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.plan = plan
        self.report = Report()
        self._services, self._say = services, say
        self._random = random.Random(plan.seed)
        self._notes = Notes(folder / "notes")
        store = Store(services.lake.url)
        # Some bodies last longer than their leases hold by themselves.
        long = (LONG_SHARE, plan.response_seconds * 1.3)
        self._chains = Chains(services.conductor, store, self._notes, plan.seed, plan.response_seconds, long)
        self._open: list[Run] = []
        self._looked = self._told = 0.0
        self._crew = [
            self._instance(folder / f"{kind}{number}", task, module)
            for kind, task, module in (
                ("plain", self._chains.plain_task, "chained_plain"),
                ("edit", self._chains.edit_task, "chained_edit"),
            )
            for number in (1, 2)
        ]

    def _instance(self, root: Path, task: str, module: str) -> Instance:
        services = self._services
        return Instance(
            root, task, services.engine_proxy.url, module, self.plan.slots,
            CHAOS_NOTES=str(self._notes.folder),
            PYTHONPATH=str(MODULES),
            LAKECTL_SERVER_ENDPOINT_URL=services.lake_proxy.url,
            LAKECTL_CREDENTIALS_ACCESS_KEY_ID=KEY,
            LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY=KEY,
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{services.metrics_proxy.url}/opentelemetry/v1/metrics",
            OTEL_METRIC_EXPORT_INTERVAL="1000",
            PERAGO_POLL_TIMEOUT="200ms",
            PERAGO_LAKEFS_STALL_TIMEOUT="1s",
            # What a crash loop has to wait for would only make the campaign longer.
            PERAGO_RESTART_MAX_DELAY="50ms",
        )  # fmt: skip

    def run(self) -> Report:
        """Carry out the plan, let everything end, and look at what is there."""
        started = time.monotonic()
        report = self.report
        try:
            self._attack()
            self._services.clear()
            until(self._all_ended, "the end of every run", SETTLED_WITHIN_SECONDS)
            report.seconds = time.monotonic() - started
            report.attempts = self._notes.begun()
            self._drain()
            self._collect()
        finally:
            for instance in self._crew:
                instance.worker.end()
        return report

    def _attack(self) -> None:
        """Do what is planned at random counts of attempts, and keep everything busy meanwhile."""
        moments = [
            (self._random.uniform(0, self.plan.attempts), number, act)
            for act, times in self._acts().items()
            for number in range(times)
        ]
        moments.sort(key=lambda moment: moment[:2])
        while (begun := self._notes.begun()) < self.plan.attempts or moments:
            if begun < self.plan.attempts:
                self._feed()
            self._keep()
            if moments and begun >= min(moments[0][0], self.plan.attempts):
                moments.pop(0)[2]()
            else:
                time.sleep(0.02)

    def _acts(self) -> dict[Callable[[], None], int]:
        plan, services = self.plan, self._services
        return {
            self._kill_executor: plan.executor_kills,
            lambda: self._one().kill_supervisor(self._random): plan.supervisor_kills,
            lambda: self._away(services.lake_away()): plan.lake_kills,
            lambda: self._away(services.engine_cut()): plan.engine_cuts,
            lambda: self._away(services.engine_away()): plan.engine_restarts,
            lambda: self._away(services.metrics_away()): plan.metrics_breaks,
            self._commit_as_somebody_else: plan.foreign_commits,
        }

    def _kill_executor(self) -> None:
        self._one().kill_executor(self._random, self._notes.running())

    def _one(self) -> Instance:
        return self._random.choice(self._crew)

    def _away(self, absence: AbstractContextManager[None]) -> None:
        """Have a service be away for a while, in which every other time a supervisor dies."""
        with absence:
            time.sleep(self._random.uniform(0, self.plan.longest_away_seconds))
            if self._random.random() < 0.5:
                self._one().kill_supervisor(self._random)

    def _commit_as_somebody_else(self) -> None:
        if self._open:
            self._chains.commit_as_somebody_else(self._random.choice(self._open))

    def _feed(self) -> None:
        """Keep more runs open than there are slots."""
        # A real server that is busy refuses now and then.
        with suppress(AssertionError, OSError):
            while len(self._open) < 2 * len(self._crew) * self.plan.slots:
                self._open.append(self._chains.start())

    def _keep(self) -> None:
        """Start workers that have ended, and look which runs have."""
        for instance in self._crew:
            instance.keep()
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_SECONDS[self._services.conductor.kind]:
            return
        self._looked = now
        self._open = [run for run in self._open if not self._has_ended(run)]
        if now - self._told > 10:
            self._told = now
            ended = len(self._chains.runs) - len(self._open)
            self._say(f"{self._notes.begun()} bodies begun, {ended} runs ended, {len(self._open)} open")
            for instance in self._crew:
                for words in instance.last_words:
                    self._say(f"{instance.name} has ended by itself: {words}")
                instance.last_words.clear()

    def _has_ended(self, run: Run) -> bool:
        conductor = self._services.conductor
        with suppress(AssertionError, OSError):
            # It would look for expired tasks only now and then.
            if conductor.kind == "real":
                conductor.decide(run.workflow)
            return conductor.status(run.workflow) in FINAL
        return False

    def _all_ended(self) -> bool:
        self._keep()
        return not self._open

    def _drain(self) -> None:
        """Stop all workers and tidy up, as an operator would, and see what is left."""
        report = self.report
        for instance in self._crew:
            code = instance.worker.stop()
            self._problem_unless(code == 0, f"{instance.name} ended with {code}: {instance.worker.stderr}")
            instance.worker.end()
        left: list[str] = []

        def is_tidy() -> bool:
            left[:] = self._tidied()
            return not left

        # What is younger than a second is left alone at first.
        with suppress(AssertionError):
            until(is_tidy, "the end of what was left", TIDY_WITHIN_SECONDS)
        report.problems += [f"left behind: {one}" for one in left]

    def _tidied(self) -> list[str]:
        """Tidy up once; return what is left."""
        left = []
        for instance in self._crew:
            tidied = instance.worker.command("gc", "--older-than", "1s")
            if tidied.returncode != 0:
                left.append(f"{instance.name}: {tidied.stdout}{tidied.stderr}")
            left += instance.left_behind()
        wanted = {"main", *self._chains.branches}
        return left + sorted(set(self._chains.repository.branches()) - wanted)

    def _collect(self) -> None:
        """Gather the figures and the problems."""
        report = self.report
        report.runs = len(self._chains.runs)
        report.verdict = self._chains.check()
        report.problems += report.verdict.problems
        report.breaks, report.faults = self._services.breaks, self._services.faults
        for instance in self._crew:
            kills = instance.kills
            report.executor_kills += kills.executors
            report.supervisor_kills += kills.supervisors
            report.restarts += kills.restarts
            report.seconds_to_gone += kills.seconds_to_gone
            events = Tally(record["event"] for record in instance.worker.records())
            report.events.update({name: events[name] for name in TOLD_EVENTS})
            findings = instance.books(self._services.store)
            report.books.append(findings)
            report.problems += findings.problems

    def _problem_unless(self, is_so: bool, problem: str) -> None:
        if not is_so:
            self.report.problems.append(problem)
