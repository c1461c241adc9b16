"""What becomes of results while the real Conductor is stopped for minutes, and started on the same database.

    .venv/bin/python bench/conductor_outage.py [--minutes 5] [--slots 8] [--embedded]

Two workers, one whose tasks have a response timeout of 900 s and one with 60 s. Every slot runs a body when
the server stops; most end while it is away. After its return half of the runs are decided on at once,
before the workers report: tasks that have expired are then given out again. Returns 0 when with 900 s every
result arrives from the only run of its body, and with 60 s every result is delivered, adopted by a later
attempt or kept with its reason.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter as Tally
from pathlib import Path
from typing import Any

from common import MODULES

from chaos.services import Services
from support.waiting import until
from support.worker import Worker

RESPONSE_SECONDS = (900, 60)
# Bodies of this share end only when the server is back.
LATE_SHARE = 0.25
LATE_SECONDS = 20.0
SETTLED_WITHIN_SECONDS = 300.0
LOOK_EVERY_SECONDS = 1.0


class Crew:
    """A worker, and one run for each of its slots."""

    def __init__(self, services: Services, folder: Path, response_seconds: int, slots: int) -> None:
        self.response_seconds = response_seconds
        self.notes = folder / f"notes{response_seconds}"
        self.notes.mkdir()
        conductor = self._conductor = services.conductor
        self._slots = slots
        self._task = f"bench.outage.{response_seconds}.{uuid.uuid4().hex[:8]}"
        conductor.define(self._task, retryCount=5, responseTimeoutSeconds=response_seconds)
        variables = {"PYTHONPATH": str(MODULES), "OUTAGE_NOTES": str(self.notes)}
        root = folder / f"worker{response_seconds}"
        slots_given = ("-j", str(slots))
        url = services.engine_proxy.url
        self.worker = Worker(root, url, self._task, *slots_given, module="enduring", **variables)
        self.runs: dict[str, str] = {}

    def start(self, seconds: float) -> None:
        """Start a run for each slot, with bodies that end in the middle of what follows or after it."""
        late = round(LATE_SHARE * self._slots)
        for number in range(self._slots):
            share = 0.05 + 0.9 * number / self._slots
            lasts = seconds + LATE_SECONDS if number < late else share * seconds
            key = f"run{number}"
            params = {"run": key, "ends_at": time.time() + lasts}
            self.runs[key] = self._conductor.start(self._task, params)
        until(lambda: len(list(self.notes.glob("*.begun.*"))) == self._slots, "every body's start", 60)

    def ended(self) -> int:
        """How many bodies have ended."""
        return len(list(self.notes.glob("*.ended.*")))

    def judge(self) -> tuple[Tally[str], list[str]]:
        """Say what became of each result, and what is wrong."""
        kept = self._kept()
        fates: Tally[str] = Tally()
        problems = []
        for key, run in self.runs.items():
            tasks = self._conductor.workflow(run)["tasks"]
            tokens = {path.name.rpartition(".")[2] for path in self.notes.glob(f"{key}.ended.*")}
            done = [task for task in tasks if task["status"] == "COMPLETED"]
            shown = {task["outputData"]["result"]["token"] for task in done}
            # A server that times a task out while its result comes in may show both and try again.
            if not done or not shown <= tokens:
                problems.append(f"{key}: {[(task['status'], task['outputData']) for task in tasks]}")
            attempts = len(list(self.notes.glob(f"{key}.begun.*")))
            fates["bodies run"] += attempts
            fates["bodies run again"] += attempts - 1
            for token in tokens:
                if token in shown:
                    fates["delivered"] += 1
                elif token in kept:
                    fates[f"kept: {kept[token]}"] += 1
                else:
                    problems.append(f"{key}: the result {token} is neither delivered nor kept")
        fates["of these adopted by a later attempt"] = len(self.worker.records("result_adopted"))
        return fates, problems

    def is_settled(self) -> bool:
        """Whether nothing is open any more; what is not known to be over is read again after up to 30 s."""
        return all(entry["state"] == "kept" for entry in self._entries())

    def _kept(self) -> dict[str, str]:
        """The results that the worker keeps, with their reasons."""
        return {
            entry["result"]["outputData"]["result"]["token"]: entry["reason"]
            for entry in self._entries()
            if entry["state"] == "kept"
        }

    def _entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = json.loads(self.worker.command("status", "--json").stdout)["entries"]
        return entries


def main() -> int:
    """Take the server away and bring it back; print what became of the results."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--minutes", type=float, default=5)
    made.add_argument("--slots", type=int, default=8)
    made.add_argument("--embedded", action="store_true", help="cut the way to an embedded engine instead")
    given = made.parse_args()
    # What was started is stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Services(folder / "services", is_real=not given.embedded, rate=0, seed=0) as services:
            crews = [Crew(services, folder, seconds, given.slots) for seconds in RESPONSE_SECONDS]
            try:
                return outage(services, crews, given.minutes * 60)
            finally:
                for crew in crews:
                    crew.worker.end()


def outage(services: Services, crews: list[Crew], seconds: float) -> int:
    """Carry it out with workers that have been started."""
    conductor = services.conductor
    for crew in crews:
        crew.worker.wait_ready()
        crew.start(seconds)
    with services.engine_away():
        gone = time.monotonic()
        print(f"Conductor is away with {sum(len(crew.runs) for crew in crews)} bodies running", flush=True)
        time.sleep(seconds)
        ended = [crew.ended() for crew in crews]
    print(f"Conductor is back after {time.monotonic() - gone:.0f} s", flush=True)
    back = time.monotonic()
    every_run = [run for crew in crews for run in crew.runs.values()]
    for run in every_run[::2]:
        conductor.decide(run)

    def all_ended() -> bool:
        time.sleep(LOOK_EVERY_SECONDS)
        open_runs = [run for run in every_run if conductor.status(run) == "RUNNING"]
        for run in open_runs:
            conductor.decide(run)
        return not open_runs

    until(all_ended, "the end of every run", SETTLED_WITHIN_SECONDS)
    print(f"every run has ended {time.monotonic() - back:.0f} s after its return", flush=True)
    problems = []
    for crew, count in zip(crews, ended, strict=True):
        until(crew.is_settled, "the end of every entry", SETTLED_WITHIN_SECONDS)
        code = crew.worker.stop()
        fates, found = crew.judge()
        problems += found + ([f"the worker ended with {code}"] if code else [])
        print(f"response timeout {crew.response_seconds} s, {count} bodies ended while it was away:")
        for fate, times in sorted(fates.items()):
            print(f"  {fate}: {times}")
        if crew.response_seconds > seconds and fates["bodies run again"]:
            problems.append("bodies ran again although their tasks had not expired")
    for problem in problems:
        print(f"problem: {problem}")
    print("FAILED" if problems else "passed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
