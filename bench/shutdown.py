"""SIGTERM at random moments, killed supervisors: how soon everything is gone, and whether anything is lost.

    .venv/bin/python bench/shutdown.py [--stops 200] [--kills 20] [--deadline 4] [--seed 0] [--real]

A worker of a workspace-free and one of a workspace task carry out chains on branches
(`tests/chaos/chains.py`), or are idle in every fourth round. Each round signals both at moments of their
own and starts them again on the same state directories. No stop may use up a retry of any task. Then
supervisors are killed while bodies run, and the time is taken until their successors have finished what was
open. With `--real` Conductor is the real server.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter as Tally
from pathlib import Path
from typing import Any

from common import spread

from chaos.campaign import MODULES
from chaos.chains import Chains, Run, Verdict
from chaos.crew import Instance
from chaos.notes import Notes
from chaos.services import Services
from support.conductor import FINAL
from support.lake import KEY
from support.waiting import until
from support.workshop import Store

# A claim that a stop loses would be given out again only after this time, and as a retry.
STOPS_RESPONSE_SECONDS = 60
# The poll that a killed supervisor had under way claims a task for nobody.
KILLS_RESPONSE_SECONDS = 5
OPEN_RUNS = 6
# Some bodies last longer than any deadline here.
LONG = (0.1, 6.0)
LATEST_SIGNAL_SECONDS = 1.5
FINISHED_WITHIN_SECONDS = 180.0
GONE_WITHIN_SECONDS = 1.0
EXIT_CODES = {0: "drained", 4: "stopped by the deadline"}


class Stops:
    """Two workers, their runs, and how they ended."""

    def __init__(
        self, services: Services, folder: Path, deadline: int, seed: int, response_seconds: int
    ) -> None:
        self.deadline = deadline
        self.seconds: dict[str, list[float]] = {"idle": [], "busy": []}
        self.codes: Tally[int] = Tally()
        self.problems: list[str] = []
        self._random = random.Random(seed)
        self._services = services
        self._notes = Notes(folder / "notes")
        self.chains = Chains(
            services.conductor, Store(services.lake.url), self._notes, seed, response_seconds, LONG
        )
        self._open: list[Run] = []
        variables = {
            "CHAOS_NOTES": str(self._notes.folder),
            "PYTHONPATH": str(MODULES),
            "LAKECTL_SERVER_ENDPOINT_URL": services.lake.url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": KEY,
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": services.store.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "PERAGO_SHUTDOWN_FORCE_KILL_AFTER": f"{deadline}s",
        }
        self.crew = [
            Instance(folder / name, task, services.conductor.url, module, 2, **variables)
            for name, task, module in (
                ("plain", self.chains.plain_task, "chained_plain"),
                ("edit", self.chains.edit_task, "chained_edit"),
            )
        ]

    def __enter__(self) -> Stops:
        return self

    def __exit__(self, *_: object) -> None:
        for instance in self.crew:
            instance.worker.end()

    def check(self) -> Verdict:
        """Stop both; compare runs, branches and results, and look for what is left."""
        for instance in self.crew:
            instance.worker.end()
            self.problems += instance.left_behind()
        verdict = self.chains.check()
        self.problems += verdict.problems
        return verdict

    def feed(self) -> None:
        """Keep runs open."""
        conductor = self._services.conductor
        self._open = [run for run in self._open if conductor.status(run.workflow) not in FINAL]
        while len(self._open) < OPEN_RUNS:
            self._open.append(self.chains.start())

    def round(self, is_busy: bool) -> None:
        """Signal each worker at a moment of its own, and start its successor."""
        if is_busy:
            self.feed()
        else:
            self.finish()
        self.wait_ready()
        threads = [
            threading.Thread(target=self._stop, args=(instance, self._moment(), is_busy))
            for instance in self.crew
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for instance in self.crew:
            instance.worker.end()
            instance.follow()

    def wait_ready(self) -> None:
        """Wait until both poll."""
        for instance in self.crew:
            instance.worker.wait_ready()

    def _moment(self) -> float:
        return self._random.uniform(0, LATEST_SIGNAL_SECONDS)

    def _stop(self, instance: Instance, after: float, is_busy: bool) -> None:
        time.sleep(after)
        worker = instance.worker
        sent = worker.signal(signal.SIGTERM)
        code = worker.wait(60)
        seconds = time.monotonic() - sent
        left = worker.processes()
        self.seconds["busy" if is_busy else "idle"].append(seconds)
        self.codes[code] += 1
        if seconds > self.deadline or code not in EXIT_CODES or left:
            self.problems.append(f"{instance.name} ended after {seconds:.2f} s with {code}, left {left}")

    def finish(self) -> None:
        """Let every run end."""
        conductor = self._services.conductor

        def is_over() -> bool:
            self._open = [run for run in self._open if conductor.status(run.workflow) not in FINAL]
            return not self._open

        until(is_over, "the end of every run", FINISHED_WITHIN_SECONDS)

    def kill(self) -> tuple[float, float, int]:
        """Kill both supervisors while bodies run.

        Returns the seconds until nothing was left of them, those until what they had open was finished, and
        how many of these tasks only their timeout has freed.
        """
        self.feed()
        self.wait_ready()
        until(self._notes.running, "a body that runs")
        at = time.monotonic()
        for instance in self.crew:
            instance.kill()
        gone = max(instance.kills.seconds_to_gone[-1] for instance in self.crew)
        claimed = [task["taskId"] for task in self._tasks() if task["status"] == "IN_PROGRESS"]
        conductor = self._services.conductor

        def states() -> list[str]:
            return [conductor.call("GET", f"/tasks/{task}")["status"] for task in claimed]

        until(lambda: set(states()) <= {"COMPLETED", "TIMED_OUT"}, "the end of what was open", 60)
        seconds = time.monotonic() - at
        return gone, seconds, states().count("TIMED_OUT")

    def _tasks(self) -> list[dict[str, Any]]:
        conductor = self._services.conductor
        return [task for run in self._open for task in conductor.workflow(run.workflow)["tasks"]]


def main() -> int:
    """Stop and kill as often as asked for, print the figures, and return 0 if nothing was lost."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--stops", type=int, default=200)
    made.add_argument("--kills", type=int, default=20)
    made.add_argument("--deadline", type=int, default=4, help="seconds, PERAGO_SHUTDOWN_FORCE_KILL_AFTER")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--real", action="store_true")
    given = made.parse_args()
    # What was started is stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (
        tempfile.TemporaryDirectory() as name,
        Services(Path(name) / "services", is_real=given.real, rate=0, seed=given.seed) as services,
    ):
        problems = stop_often(services, Path(name) / "stops", given)
        problems += kill_often(services, Path(name) / "kills", given)
    for problem in problems:
        print(f"problem: {problem}")
    print("FAILED" if problems else "passed")
    return 1 if problems else 0


def stop_often(services: Services, folder: Path, given: argparse.Namespace) -> list[str]:
    """Signal workers, print the figures, and return what was wrong."""
    stops = Stops(services, folder, given.deadline, given.seed, STOPS_RESPONSE_SECONDS)
    with stops:
        for number in range(given.stops // 2):
            stops.round(number % 4 != 3)
        stops.finish()
        verdict = stops.check()
        for kind, seconds in stops.seconds.items():
            print(f"SIGTERM, {kind}: {len(seconds)} workers, gone after {spread(seconds)} s")
        ends = ", ".join(f"{count} {EXIT_CODES.get(code, code)}" for code, count in stops.codes.items())
        print(f"  deadline {given.deadline} s: {ends}")
        print(f"  {verdict.finished} runs, {verdict.results} results as the bodies returned them,", end="")
        print(f" {verdict.claims - verdict.results} tasks given back, {verdict.retries} retries", flush=True)
        if verdict.retries:
            stops.problems.append(f"{verdict.retries} retries were used up")
    return stops.problems


def kill_often(services: Services, folder: Path, given: argparse.Namespace) -> list[str]:
    """Kill supervisors, print the figures, and return what was wrong."""
    stops = Stops(services, folder, given.deadline, given.seed, KILLS_RESPONSE_SECONDS)
    with stops:
        kills = [stops.kill() for _ in range(given.kills // 2)]
        stops.finish()
        verdict = stops.check()
    gone, finished, timed_out = zip(*kills, strict=True)
    print(f"SIGKILL of {2 * len(kills)} supervisors: all gone after {spread(list(gone))} s,")
    print(f"  what was open finished by their successors after {spread(list(finished))} s,", end="")
    print(f" {sum(timed_out)} claims of polls under way freed by their timeout")
    print(f"  {verdict.finished} runs, {verdict.results} results as the bodies returned them", flush=True)
    if max(gone) > GONE_WITHIN_SECONDS:
        stops.problems.append(f"processes outlived their supervisor by {max(gone):.2f} s")
    return stops.problems


if __name__ == "__main__":
    sys.exit(main())
