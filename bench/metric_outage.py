"""What bodies, totals and stopping notice of a VictoriaMetrics that is gone or hangs.

    .venv/bin/python bench/metric_outage.py [--pairs 20] [--seconds 60] [--rounds 300000] [--slots 2]

1. The same recording bodies with the store there and gone, in turns: the median ratio may be 1.03.
2. The store gone for `--seconds` under load, with a child that the kernel kills at its first system call, and
   the totals compared with the witnesses of every thread after it.
3. The time that a worker takes to end while the store is gone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import uuid
from pathlib import Path

from common import server, spread

from chaos.campaign import Plan
from chaos.outage import BREAKS, MENDS, Outage, measure, worker_on
from chaos.stores import OwnVictoriaMetrics, WholeStore
from support.conductor import Conductor

HIGHEST_RATIO = 1.03
# The poll in flight and one bounded push.
LONGEST_STOP_SECONDS = 1.0 + 2.0 + 0.5


def options() -> argparse.Namespace:
    """Return the command line's options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--pairs", type=int, default=20)
    made.add_argument("--seconds", type=float, default=60)
    made.add_argument("--rounds", type=int, default=300_000)
    made.add_argument("--slots", type=int, default=2)
    return made.parse_args()


def main() -> int:
    """Run the three parts for a store that refuses and for one that hangs; return 0 if all is well."""
    given = options()
    problems: list[str] = []
    for how in BREAKS:
        with (
            tempfile.TemporaryDirectory() as name,
            server(None) as engine,
            OwnVictoriaMetrics(Path(name) / "store") as service,
        ):
            folder = Path(name)
            speed = measure(engine, service, folder / "speed", how, given.pairs, given.rounds, given.slots)
            print(f"store {how}")
            print(f"  {given.pairs} pairs of bodies of {4 * given.rounds:,} calls")
            print(f"    store there                        {spread(speed.there)} s")
            print(f"    ratio gone / there, clock          {spread(speed.clock)}")
            print(f"    ratio gone / there, processor time {spread(speed.processor)}", flush=True)
            if speed.ratio > HIGHEST_RATIO:
                problems.append(f"{how}: bodies took {speed.ratio:.3f} of their time")
            problems += outage(engine, service, folder / "outage", how, given.seconds, given.slots)
            problems += stop(engine, service, folder / "stop", how)
    for problem in problems:
        print(f"problem: {problem}")
    print("FAILED" if problems else "passed")
    return 1 if problems else 0


def outage(
    engine: Conductor, service: OwnVictoriaMetrics, folder: Path, how: str, seconds: float, slots: int
) -> list[str]:
    """Let the store be gone for a while; return what was wrong."""
    run = Outage(Plan(seconds=seconds, slots=slots, pause_milliseconds=1), engine, service, folder, how)
    figures = run.run()
    found = figures.findings
    print(f"  gone for {seconds:.0f} s under load: {run.failed_pushes} pushes failed in a row,")
    print(f"    {found.finished:,} samples finished, {found.counted_in_flight} counted beyond, ", end="")
    print(
        f"sealed child {'recorded without system calls' if run.sealed_status == 0 else 'was killed'}",
        flush=True,
    )
    if found.counted_in_flight != found.in_flight:
        figures.problems.append(f"{found.in_flight} in flight, {found.counted_in_flight} counted")
    return figures.problems


def stop(engine: Conductor, service: OwnVictoriaMetrics, folder: Path, how: str) -> list[str]:
    """Stop an idle worker while the store is gone; return what was wrong."""
    task = f"chaos.{uuid.uuid4().hex[:12]}"
    engine.define(task)
    with worker_on(folder, engine, WholeStore(service.url), task) as worker:
        worker.wait_record("worker_started")
        BREAKS[how](service)
        try:
            sent = worker.signal()
            code = worker.wait(60)
            seconds = time.monotonic() - sent
        finally:
            MENDS[how](service)
    print(f"  SIGTERM to the end of the worker       {seconds:.2f} s, exit code {code}", flush=True)
    is_well = code == 0 and seconds <= LONGEST_STOP_SECONDS
    return [] if is_well else [f"{how}: the worker ended after {seconds:.2f} s with {code}"]


if __name__ == "__main__":
    sys.exit(main())
