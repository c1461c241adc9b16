"""Everything broken at once, and whether anything was lost, doubled or left behind.

make chaos [SEED=0] [ATTEMPTS=2000] [SERVICES=real]
.venv/bin/python bench/chaos.py [--seed 0] [--attempts 2000] [--real]

Two workers of a workspace-free and two of a workspace task carry out chains on branches of one repository,
while executors and supervisors are killed, services go away and come back on what they held, calls fail at
random, and somebody else commits. With `--real` Conductor and VictoriaMetrics are the real servers.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from common import ROOT  # noqa: F401

from chaos.services import Services
from chaos.whole import Plan, WholeCampaign


def main() -> int:
    """Run it, print the report, and return 0 if there is no problem."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--attempts", type=int, default=2000)
    made.add_argument("--real", action="store_true")
    given = made.parse_args()
    # What was started is stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan = Plan.for_attempts(given.attempts, given.seed, given.real)
    print(f"{plan}, {'real' if given.real else 'embedded'} services", flush=True)
    with (
        tempfile.TemporaryDirectory() as name,
        Services(
            Path(name) / "services", is_real=given.real, rate=plan.fault_rate, seed=plan.seed
        ) as services,
    ):
        report = WholeCampaign(plan, services, Path(name), lambda text: print(text, flush=True)).run()
    print(*report.lines(), sep="\n")
    for problem in report.problems:
        print(f"problem: {problem}")
    print("FAILED" if report.problems else "passed")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
