"""A short form of `make chaos`: nothing is lost, doubled or left behind when everything breaks at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from .services import Services
from .whole import Plan, WholeCampaign

ATTEMPTS = 40


@pytest.mark.timeout(300)
def test_nothing_is_lost_when_everything_breaks(tmp_path: Path) -> None:
    plan = Plan(
        attempts=ATTEMPTS, seed=6, fault_rate=0.01, response_seconds=3, longest_away_seconds=0.5,
        executor_kills=6, supervisor_kills=3, lake_kills=2, engine_cuts=2, metrics_breaks=1,
        foreign_commits=8,
    )  # fmt: skip
    services = Services(tmp_path / "services", is_real=False, rate=plan.fault_rate, seed=plan.seed)
    with services:
        report = WholeCampaign(plan, services, tmp_path).run()
    assert report.problems == [], "\n".join([*report.lines(), *report.problems])
    assert report.attempts >= ATTEMPTS
    assert report.verdict.finished == report.runs > 0
    assert report.verdict.foreign_commits == plan.foreign_commits
    assert report.supervisor_kills >= plan.supervisor_kills
    assert report.breaks["kills of lakeFS"] == plan.lake_kills
    # Every body that the last attempts ran was compared with the store of metrics.
    assert sum(books.finished for books in report.books) > report.verdict.results
