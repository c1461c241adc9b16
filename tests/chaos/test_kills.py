"""A short form of `bench/metric_kills.py`: no sample is lost, doubled or halved, and no series is added."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.conductor import Conductor

from .campaign import Campaign, Figures, Plan
from .stores import WholeStore


def carried_out(plan: Plan, conductor: Conductor, store: WholeStore, folder: Path) -> Figures:
    figures = Campaign(plan, conductor, store, folder).run()
    assert figures.problems == []
    assert figures.findings.finished > 200
    assert figures.findings.counted_in_flight <= figures.findings.in_flight
    return figures


@pytest.mark.timeout(300)
def test_kills_lose_no_sample_and_add_no_series(
    conductor: Conductor, store: WholeStore, tmp_path: Path
) -> None:
    plan = Plan(
        seconds=8, kills=30, supervisor_kills=2, pause_milliseconds=2, export_milliseconds=300, seed=4
    )
    killed = carried_out(plan, conductor, store, tmp_path / "killed")
    # As many as in a run in which nobody dies, with one slot and with eight.
    for slots in (1, 8):
        quiet = Plan(seconds=0.5, slots=slots, pause_milliseconds=5, export_milliseconds=300)
        figures = carried_out(quiet, conductor, store, tmp_path / f"quiet-{slots}")
        assert figures.findings.in_flight == 0
        assert figures.series == killed.series


@pytest.mark.timeout(300)
def test_forked_children_and_threads_lose_no_sample_when_they_are_killed(
    conductor: Conductor, store: WholeStore, tmp_path: Path
) -> None:
    plan = Plan(
        seconds=4, kills=6, supervisor_kills=1, child_kills=8, slots=2, threads=8, children=8,
        pause_milliseconds=5, export_milliseconds=300, seed=5,
    )  # fmt: skip
    carried_out(plan, conductor, store, tmp_path)
