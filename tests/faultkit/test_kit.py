"""The kit for authors: rules and their counts, virtual time, workers, runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from perago.testing import KILL_POINTS, EmbeddedServices, HttpRefusedError
from support.http import send


def statuses(services: EmbeddedServices, count: int) -> list[int]:
    return [send("GET", f"{services.url}/api/health").status for _ in range(count)]


def test_occurrences(services: EmbeddedServices) -> None:
    faults = services.faults
    with faults.status("health", 500, nth=2) as fault:
        assert statuses(services, 3) == [200, 500, 200]
        assert (fault.seen, fault.hits) == (3, 1)
    with faults.status("conductor.health", 500, first=2):
        assert statuses(services, 3) == [500, 500, 200]
    with faults.status("conductor.*", 500, every=2):
        assert statuses(services, 4) == [200, 500, 200, 500]
    with faults.status("*", 500, path="/health") as always:
        assert statuses(services, 2) == [500, 500]
    assert statuses(services, 1) == [200]
    assert (always.seen, always.hits) == (2, 2), "kept when the fault is lifted"


def test_calls_are_counted(services: EmbeddedServices) -> None:
    before = services.faults.calls("health")
    statuses(services, 3)
    assert services.faults.calls("conductor.health") == before + 3
    assert services.faults.calls() >= services.faults.calls("conductor.*") >= before + 3
    assert services.faults.calls("otlp.*") == 0
    assert {"conductor.poll", "lakefs.merge", "object_store.put_object"} <= set(services.faults.names())


def test_what_makes_no_sense_is_refused(services: EmbeddedServices) -> None:
    with pytest.raises(ValueError, match='no embedded service has a call "pull"'):
        services.faults.reset("pull")
    with pytest.raises(ValueError, match="no embedded service has a call 'pull'"):
        services.faults.calls("pull")
    with pytest.raises(ValueError, match="occurrences are counted from 1"):
        services.faults.reset("poll", nth=0)
    with pytest.raises(ValueError, match="one of nth, first and every"):
        services.faults.reset("poll", nth=1, first=2)
    with pytest.raises(ValueError, match="a status is a number"):
        services.faults.status("poll", 99)
    with pytest.raises(HttpRefusedError, match="a number of seconds that is not negative"):
        services.advance(-1)
    with pytest.raises(AssertionError, match="the fault reset at merge"):
        services.faults.reset("merge").wait(0)


def poll(services: EmbeddedServices) -> list[object]:
    path = "/tasks/poll/batch/faultkit.ledger?count=1&timeout=0"
    return services.conductor.call("GET", path)  # type: ignore[no-any-return]


def test_a_retry_of_tomorrow_runs_now(services: EmbeddedServices, tmp_path: Path) -> None:
    """A delay of a day between attempts, and a response timeout of an hour, cost nothing."""
    services.define(
        "ledger_task", retryCount=3, retryDelaySeconds=86_400, retryLogic="FIXED", responseTimeoutSeconds=3600
    )
    ledger = tmp_path / "ledger"
    with services.faults.drop_reply("poll"), services.worker("ledger_task", host="deaf") as worker:
        run = services.start("ledger_task", {"ledger": str(ledger), "text": "t"})
        while services.conductor.last_task(run)["status"] != "IN_PROGRESS":
            assert worker.process.poll() is None
    services.advance(3600 + 1)
    assert [one["status"] for one in services.conductor.workflow(run)["tasks"]] == ["TIMED_OUT", "SCHEDULED"]
    services.advance(86_400 - 60)
    assert poll(services) == [], "not yet"
    services.advance(60)
    with services.worker("ledger_task", host="hearing"):
        done = services.wait(run)
    assert (done.status, ledger.read_text(), len(done.attempts)) == ("COMPLETED", "t\n", 2)


def test_a_killed_worker_takes_its_executors_along(services: EmbeddedServices, tmp_path: Path) -> None:
    with services.worker("ledger_task", host="killed") as worker:
        worker.kill()
        assert worker.process.returncode == -signal.SIGKILL
    with services.worker("ledger_task", host="killed") as successor:
        assert successor.stop() == 0
    with pytest.raises(AssertionError, match=r"ended with [1-9]"):
        services.worker("ledger_task", "--no-such-option", host="refused")


def test_settings_of_the_machine_do_not_count(
    services: EmbeddedServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", "http://127.0.0.1:1/api")
    monkeypatch.setenv("PERAGO_FAULT_KILL_AT", KILL_POINTS[0])
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PERAGO_HEALTH_LISTEN=nowhere\n", encoding="utf-8")
    done = services.run("ledger_task", {"ledger": os.devnull, "text": "t"})
    assert (done.status, done.result, done.reason) == ("COMPLETED", {"text": "t"}, None)


def test_a_module_that_cannot_be_used_is_named(services: EmbeddedServices) -> None:
    with pytest.raises(AssertionError, match="perago extract no_such_module"):
        services.define("no_such_module")
