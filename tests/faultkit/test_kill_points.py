"""A worker or its executor killed at every named point: the run ends well, one commit, nothing left."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest

from perago.testing import KILL_POINTS, EmbeddedServices
from support.command import CommandLine
from support.waiting import until

from .conftest import modules_on_path

FILES: dict[str, str | bytes] = {"in/a": "one", "in/old": "two", "out": "three"}
# The worker lives on and replaces its executor.
OF_EXECUTORS = {name for name in KILL_POINTS if name.endswith(("-acknowledgement", "-result-file"))}
# Nobody but the server knows of the claim.
UNKNOWN_CLAIM = "before-claim-record"
RESPONSE_TIMEOUT_SECONDS = 600
QUICK = {"PERAGO_POLL_TIMEOUT": "100ms"}


# Most of the time of a case is spent waiting; each lane has services of its own.
LANES = 3

Played: TypeAlias = "dict[str, Future[None]]"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Every point, played beside others."""
    points: Played = {point: Future() for point in KILL_POINTS}

    def play_lane(lane: int) -> None:
        with EmbeddedServices(tmp_path_factory.mktemp(f"lane-{lane}")) as services:
            define(services)
            for point in KILL_POINTS[lane::LANES]:
                try:
                    play(services, point)
                except BaseException as error:
                    points[point].set_exception(error)
                else:
                    points[point].set_result(None)

    with modules_on_path(), ThreadPoolExecutor(LANES) as pool:
        lanes = [pool.submit(play_lane, lane) for lane in range(LANES)]
        yield points
        for lane in lanes:
            lane.result()


def define(services: EmbeddedServices) -> None:
    services.define(
        "edit_task", retryCount=3, retryDelaySeconds=0, responseTimeoutSeconds=RESPONSE_TIMEOUT_SECONDS
    )


@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_kill_loses_and_doubles_nothing(played: Played, point: str) -> None:
    played[point].result(110)


def play(services: EmbeddedServices, point: str) -> None:
    repository = services.repository(FILES)
    worker = services.worker("edit_task", host=point, kill_at=point, **QUICK)
    run = services.start("edit_task", {"text": point}, repository.workspace())
    if point in OF_EXECUTORS:
        assert worker.wait_record("executor_exited")["cause"] == "killed"
    else:
        assert worker.wait() == -signal.SIGKILL
        worker = services.worker("edit_task", host=point, **QUICK)
        if point == UNKNOWN_CLAIM:
            assert services.conductor.last_task(run)["status"] == "IN_PROGRESS"
            services.advance(RESPONSE_TIMEOUT_SECONDS + 1)
    done = services.wait(run)
    assert (done.status, done.result) == ("COMPLETED", {"seen": ["a", "old"]})
    assert repository.files() == {"in/a": point.encode(), "in/new": b"made", "out": b"three"}
    (commit,) = repository.commits()
    assert done.output["workspace"] == {**repository.workspace(), "ref": commit["id"]}
    until(lambda: repository.branches() == ["main"], "the end of staging branches")
    until(lambda: not left(worker.root), "empty workspaces")
    assert worker.stop() == 0
    assert len(worker.records("kill_point_armed", point=point)) == 1


def left(root: Path) -> list[Path]:
    """The directories of attempts that are there."""
    return list((root / "workspaces").glob("task_id=*"))


def test_the_n_th_time_counts(services: EmbeddedServices) -> None:
    define(services)
    worker = services.worker("edit_task", host="second", kill_at="after-claim-record:2", **QUICK)
    first = services.repository(FILES)
    done = services.run("edit_task", {"text": "1"}, first.workspace())
    assert (done.status, worker.process.poll()) == ("COMPLETED", None)
    second = services.repository(FILES)
    run = services.start("edit_task", {"text": "2"}, second.workspace())
    assert worker.wait() == -signal.SIGKILL
    with services.worker("edit_task", host="second", **QUICK):
        assert services.wait(run).status == "COMPLETED"


@pytest.mark.parametrize("text", ["merge", "after-merge:0", "after-merge:"])
def test_an_unknown_point_is_refused(tmp_path: Path, text: str) -> None:
    line = CommandLine(tmp_path)
    source = (Path(__file__).parent / "modules" / "ledger_task.py").read_text(encoding="utf-8")
    line.write("ledger_task.py", source)
    ran = line.run("check", "ledger_task", PERAGO_FAULT_KILL_AT=text)
    assert ran.code != 0
    assert "PERAGO_FAULT_KILL_AT must be the name of a point, or POINT:N with N from 1" in ran.stderr
    assert set(KILL_POINTS) <= set(re.findall(r"[a-z-]+", ran.stderr))
