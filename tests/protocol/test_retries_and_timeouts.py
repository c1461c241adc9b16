from __future__ import annotations

from typing import Any

import pytest

from .client import Conductor


def test_a_retry_is_a_new_task(conductor: Conductor) -> None:
    conductor.define(retryCount=1, retryDelaySeconds=0)
    run = conductor.start()
    first = conductor.poll()
    conductor.update(first, "FAILED", reasonForIncompletion="no luck", outputData={"x": 1})
    second = conductor.poll()
    assert second["taskId"] != first["taskId"]
    assert (second["retryCount"], second["seq"], second["pollCount"]) == (1, 2, 1)
    assert second["retriedTaskId"] == first["taskId"]
    assert (second["outputData"], second["reasonForIncompletion"]) == ({}, "no luck")
    assert conductor.task(first)["retried"] is True
    late = conductor.update(first, "COMPLETED", outputData={"late": 1})
    assert late.status == 200
    assert conductor.task(first)["status"] == "FAILED"
    conductor.update(second, "FAILED", reasonForIncompletion="again")
    shown = conductor.run(run)
    assert shown["status"] == "FAILED"
    assert len(shown["tasks"]) == 2


@pytest.mark.parametrize(
    ("rest", "delays"),
    [
        ({"retryLogic": "FIXED"}, [1, 1, 1, 1]),
        ({"retryLogic": "LINEAR_BACKOFF", "backoffScaleFactor": 2}, [2, 4, 6, 8]),
        ({"retryLogic": "EXPONENTIAL_BACKOFF", "backoffScaleFactor": 9}, [1, 2, 4, 8]),
        ({"retryLogic": "EXPONENTIAL_BACKOFF", "maxRetryDelaySeconds": 3}, [1, 2, 3, 3]),
    ],
)
def test_delays_before_retries(conductor: Conductor, rest: dict[str, Any], delays: list[int]) -> None:
    conductor.define(retryCount=4, retryDelaySeconds=1, **rest)
    run = conductor.start()
    seen = []
    for _ in delays:
        # Unpolled attempts can be failed directly, so the delay is read rather than waited for.
        conductor.update(conductor.run(run)["tasks"][-1], "FAILED")
        retry = conductor.run(run)["tasks"][-1]
        assert retry["startDelayInSeconds"] == retry["callbackAfterSeconds"]
        seen.append(retry["startDelayInSeconds"])
    assert seen == delays


def test_a_retry_is_not_handed_out_early(conductor: Conductor) -> None:
    conductor.define(retryCount=1, retryDelaySeconds=2)
    run = conductor.start()
    conductor.update(conductor.poll(), "FAILED")
    assert conductor.poll_now() == []
    retry = conductor.poll()
    assert retry["startTime"] - conductor.run(run)["tasks"][0]["endTime"] >= 1900


def test_the_workflows_retry_count_wins(conductor: Conductor) -> None:
    task = {"name": conductor.name, "taskReferenceName": "a", "type": "SIMPLE", "retryCount": 0}
    conductor.define(retryCount=3, retryDelaySeconds=0, workflow={"tasks": [task]})
    run = conductor.start()
    conductor.update(conductor.poll(), "FAILED")
    assert conductor.run(run)["status"] == "FAILED"


@pytest.mark.parametrize("policy", ["RETRY", "TIME_OUT_WF", "ALERT_ONLY"])
def test_the_response_timeout_retries_whatever_the_policy(conductor: Conductor, policy: str) -> None:
    conductor.define(retryCount=1, retryDelaySeconds=0, responseTimeoutSeconds=1, timeoutPolicy=policy)
    run = conductor.start()
    first = conductor.poll()
    shown = conductor.decided(run, lambda run: len(run["tasks"]) == 2)
    lost = shown["tasks"][0]
    assert lost["status"] == "TIMED_OUT"
    assert lost["reasonForIncompletion"] == (
        f"responseTimeout: 1 exceeded for the taskId: {first['taskId']} "
        f"with Task Definition: {conductor.name}"
    )
    conductor.poll()
    ended = conductor.decided(run, lambda run: run["status"] != "RUNNING")
    assert (ended["status"], [task["status"] for task in ended["tasks"]]) == ("TIMED_OUT", ["TIMED_OUT"] * 2)


def test_beats_keep_a_lease(conductor: Conductor) -> None:
    conductor.define(retryCount=0, responseTimeoutSeconds=2)
    run = conductor.start()
    task = conductor.poll()

    def beat() -> bool:
        conductor.update(task, "IN_PROGRESS", extendLease=True)
        conductor.put(f"/workflow/decide/{run}")
        shown = conductor.task(task)
        assert shown["status"] == "IN_PROGRESS"
        return bool(shown["updateTime"] - shown["startTime"] > 3000)

    conductor.until(beat)
    conductor.update(task, "COMPLETED")
    assert conductor.run(run)["status"] == "COMPLETED"


@pytest.mark.parametrize(("policy", "attempts"), [("TIME_OUT_WF", 1), ("RETRY", 2)])
def test_the_run_timeout_of_a_task_follows_its_policy(
    conductor: Conductor, policy: str, attempts: int
) -> None:
    conductor.define(
        retryCount=1, retryDelaySeconds=0, timeoutSeconds=1, responseTimeoutSeconds=1, timeoutPolicy=policy
    )
    run = conductor.start()
    conductor.poll()
    if attempts == 2:
        conductor.decided(run, lambda run: len(run["tasks"]) == 2)
        conductor.poll()
    ended = conductor.decided(run, lambda run: run["status"] != "RUNNING")
    assert (ended["status"], len(ended["tasks"])) == ("TIMED_OUT", attempts)


def test_the_poll_timeout(conductor: Conductor) -> None:
    conductor.define(retryCount=0, pollTimeoutSeconds=1)
    run = conductor.start()
    ended = conductor.decided(run, lambda run: run["status"] != "RUNNING")
    assert (ended["status"], ended["tasks"][0]["status"]) == ("TIMED_OUT", "TIMED_OUT")


def test_the_total_timeout_stops_retries(conductor: Conductor) -> None:
    conductor.define(
        retryCount=5, retryDelaySeconds=0, totalTimeoutSeconds=1, timeoutSeconds=1, responseTimeoutSeconds=1,
        timeoutPolicy="RETRY",
    )  # fmt: skip
    run = conductor.start()

    def fail_again() -> Any:
        shown = conductor.run(run)
        if shown["status"] == "RUNNING":
            conductor.update(shown["tasks"][-1], "IN_PROGRESS")
            conductor.put(f"/workflow/decide/{run}")
            return None
        return shown

    ended = conductor.until(fail_again)
    assert ended["status"] in ("FAILED", "TIMED_OUT")
    assert len(ended["tasks"]) <= 2


def test_a_paused_run_does_not_time_out(conductor: Conductor) -> None:
    conductor.define(retryCount=0, responseTimeoutSeconds=1)
    run = conductor.start()
    task = conductor.poll()
    conductor.put(f"/workflow/{run}/pause")

    other = Conductor(conductor.kind, conductor.base)
    other.define(retryCount=0, responseTimeoutSeconds=1)
    other_run = other.start()
    other.poll()
    # The other run shows that the time has passed.
    other.decided(other_run, lambda run: run["status"] == "TIMED_OUT")
    conductor.put(f"/workflow/decide/{run}")
    assert conductor.task(task)["status"] == "IN_PROGRESS"
    conductor.update(task, "COMPLETED")
    conductor.put(f"/workflow/{run}/resume")
    conductor.decided(run, lambda run: run["status"] == "COMPLETED")
