"""Whether samples survive kills: bodies record all the time while executors and supervisors are killed.

    .venv/bin/python bench/metric_kills.py [--minutes 10] [--slots 4] [--kills 500] [--supervisor-kills 10]
        [--threads 4] [--children 0] [--child-kills 0] [--pause MILLISECONDS] [--seed 0]
        [--victoria-metrics URL | start]

Each recording thread steps a counter in a file of its own before and after each call; the totals of the store
must lie between the two. Two short runs without kills, with one slot and with eight, count the series.
Without `--victoria-metrics` the store is the embedded receiver; `start` starts a real one for the run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from common import server

from chaos.campaign import Campaign, Figures, Plan
from chaos.stores import OwnVictoriaMetrics, WholeStore

QUIET_SECONDS = 3.0


def options() -> argparse.Namespace:
    """Return the command line's options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--minutes", type=float, default=10)
    made.add_argument("--slots", type=int, default=4)
    made.add_argument("--kills", type=int, default=500)
    made.add_argument("--supervisor-kills", type=int, default=10)
    made.add_argument("--threads", type=int, default=4)
    made.add_argument("--children", type=int, default=0, help="forked children of each body")
    made.add_argument("--child-kills", type=int, default=0)
    made.add_argument(
        "--pause", type=float, default=0, help="milliseconds that a thread rests after 20 rounds"
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--victoria-metrics", default=os.environ.get("PERAGO_TEST_VICTORIA_METRICS_URL"))
    return made.parse_args()


def main() -> int:
    """Run all of it, print the books, and return 0 if they balance."""
    given = options()
    attack = Plan(
        seconds=given.minutes * 60,
        kills=given.kills,
        supervisor_kills=given.supervisor_kills,
        child_kills=given.child_kills,
        slots=given.slots,
        threads=given.threads,
        children=given.children,
        pause_milliseconds=given.pause,
        seed=given.seed,
    )
    quiet = [
        Plan(seconds=QUIET_SECONDS, slots=slots, threads=given.threads, children=given.children)
        for slots in (1, 8)
    ]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = stack.enter_context(server(None))
        if given.victoria_metrics == "start":
            url = stack.enter_context(OwnVictoriaMetrics(folder / "store")).url
        else:
            url = given.victoria_metrics or engine.url.removesuffix("/api")
        store = WholeStore(url)
        print(f"store: {'VictoriaMetrics' if given.victoria_metrics else 'embedded receiver'}", flush=True)
        runs = []
        for number, plan in enumerate([attack, *quiet]):
            figures = Campaign(plan, engine, store, folder / str(number)).run()
            show(plan, figures)
            runs.append(figures)
    problems = [problem for figures in runs for problem in figures.problems]
    if len({figures.series for figures in runs}) != 1:
        problems.append(f"the number of series differs: {[figures.series for figures in runs]}")
    for problem in problems:
        print(f"problem: {problem}")
    print("FAILED" if problems else "passed")
    return 1 if problems else 0


def show(plan: Plan, figures: Figures) -> None:
    """Print one run."""
    found = figures.findings
    print(f"-j {plan.slots}, a body of {plan.threads} threads and {plan.children} children", end="")
    print(f", {figures.seconds:.0f} s")
    print(
        f"  SIGKILLs            {figures.executor_kills} executors, {figures.supervisor_kills} supervisors,"
        f" {figures.child_kills} forked children"
    )
    print(f"  samples finished    {found.finished:,} by {found.recorders} recorders")
    print(f"  in flight at kills  {found.in_flight}, of which {found.counted_in_flight} were counted")
    print(f"  histogram series    {found.series} compared with their witnesses")
    print(f"  series in the store {figures.series}")
    print(f"  totals as exported  {figures.samples:,}, of which {figures.falls} below an earlier one")
    print(f"  problems            {len(figures.problems)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
