from __future__ import annotations

import socket
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

from .client import Conductor


def test_a_poll_claims_a_task(conductor: Conductor) -> None:
    conductor.define(responseTimeoutSeconds=5)
    run = conductor.start({"x": 2}, correlationId="corr-1", priority=5)
    task = conductor.poll("w1")
    assert task["status"] == "IN_PROGRESS"
    assert task["taskType"] == task["taskDefName"] == conductor.name
    assert task["workflowInstanceId"] == run
    assert (task["referenceTaskName"], task["retryCount"], task["seq"], task["pollCount"]) == ("s0", 0, 1, 1)
    assert (task["workerId"], task["correlationId"], task["workflowPriority"]) == ("w1", "corr-1", 5)
    assert (task["responseTimeoutSeconds"], task["callbackAfterSeconds"], task["endTime"]) == (5, 0, 0)
    assert task["scheduledTime"] <= task["startTime"] <= task["updateTime"]
    assert (task["iteration"], task["outputData"]) == (0, {})
    assert task["workflowTask"]["taskDefinition"]["responseTimeoutSeconds"] == 5
    assert conductor.task(task)["status"] == "IN_PROGRESS"
    assert conductor.poll_now() == []
    polls = conductor.get(f"/tasks/queue/polldata?taskType={conductor.name}").json
    assert (polls[0]["queueName"], polls[0]["workerId"]) == (conductor.name, "w1")


def test_single_poll_answers_204_after_its_wait(conductor: Conductor) -> None:
    began = time.monotonic()
    answer = conductor.get(f"/tasks/poll/{conductor.name}?workerid=w1")
    assert (answer.status, answer.body) == (204, b"")
    assert time.monotonic() - began >= 0.08
    conductor.define()
    conductor.start()
    assert conductor.get(f"/tasks/poll/{conductor.name}").json["taskType"] == conductor.name


def test_an_empty_batch_is_200(conductor: Conductor) -> None:
    answer = conductor.get(f"/tasks/poll/batch/{conductor.name}?timeout=0")
    assert (answer.status, answer.json) == (200, [])
    for count in (0, -1):
        assert conductor.get(f"/tasks/poll/batch/{conductor.name}?count={count}&timeout=0").json == []
    too_long = conductor.get(f"/tasks/poll/batch/{conductor.name}?timeout=5001")
    assert too_long.status == 400
    assert too_long.json["message"] == "Long Poll Timeout value cannot be more than 5 seconds"
    assert conductor.get(f"/tasks/poll/batch/{conductor.name}?count=x").status == 500


def test_a_full_batch_returns_at_once_and_a_larger_count_waits(conductor: Conductor) -> None:
    conductor.define()
    for _ in range(3):
        conductor.start()
    size = f"/tasks/queue/size?taskType={conductor.name}"
    conductor.until(lambda: conductor.get(size).json == 3)
    began = time.monotonic()
    assert len(conductor.poll_now(2, timeout=5000)) == 2
    assert time.monotonic() - began < 4.5
    began = time.monotonic()
    assert len(conductor.poll_now(5, timeout=1000)) == 1
    assert time.monotonic() - began >= 0.9


def test_a_long_poll_wakes_when_a_task_comes(conductor: Conductor) -> None:
    conductor.define()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(conductor.poll_now, 1, timeout=5000)
        if conductor.kind == "embedded":
            # The real server notes a poll only when it ends; there the poll may also begin after the start.
            conductor.until(lambda: conductor.get(f"/tasks/queue/polldata?taskType={conductor.name}").json)
        began = time.monotonic()
        conductor.start()
        assert len(waiting.result()) == 1
        assert time.monotonic() - began < 4.5


def test_a_client_that_goes_away_still_takes_the_task(conductor: Conductor) -> None:
    conductor.define()
    url = urllib.parse.urlsplit(conductor.base)
    connection = socket.create_connection((url.hostname or "", url.port or 80))
    target = f"{url.path}/tasks/poll/batch/{conductor.name}?count=1&timeout=5000&workerid=gone"
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    if conductor.kind == "embedded":
        # The real server notes a poll only when it ends, so there is nothing to wait for there.
        path = f"/tasks/queue/polldata?taskType={conductor.name}"
        conductor.until(lambda: conductor.get(path).json)
    connection.close()
    run = conductor.start()

    def taken() -> bool:
        return bool(conductor.run(run)["tasks"][0]["status"] == "IN_PROGRESS")

    conductor.until(taken)
    assert conductor.run(run)["tasks"][0]["workerId"] == "gone"


def test_domains_are_queues_of_their_own(conductor: Conductor) -> None:
    conductor.define()
    conductor.start(taskToDomain={conductor.name: "d1"})
    assert conductor.poll_now() == []
    assert conductor.poll_now(domain="d2") == []
    conductor.start()
    # An empty domain is a domain too: a client must leave the parameter out.
    assert conductor.get(f"/tasks/poll/batch/{conductor.name}?timeout=0&domain=").json == []
    assert "domain" not in conductor.poll()
    task = conductor.poll(domain="d1")
    assert task["domain"] == "d1"


def test_higher_priority_is_handed_out_first(conductor: Conductor) -> None:
    conductor.define()
    for priority in (0, 99, 5):
        conductor.start(priority=priority)
    size = f"/tasks/queue/size?taskType={conductor.name}"
    conductor.until(lambda: conductor.get(size).json == 3)
    assert [conductor.poll()["workflowPriority"] for _ in range(3)] == [99, 5, 0]


def test_the_limit_of_concurrent_attempts(conductor: Conductor) -> None:
    conductor.define(concurrentExecLimit=1)
    for _ in range(3):
        conductor.start()
    size = f"/tasks/queue/size?taskType={conductor.name}"
    conductor.until(lambda: conductor.get(size).json == 3)
    first = conductor.poll()
    assert conductor.poll_now(3, timeout=300) == []
    conductor.update(first, "COMPLETED")
    if conductor.kind == "embedded":
        # With sqlite the real server postpones the others by a minute, which no test should wait for.
        assert conductor.poll()["taskId"] != first["taskId"]


def test_queue_sizes(conductor: Conductor) -> None:
    conductor.define()
    conductor.start()
    conductor.start(taskToDomain={conductor.name: "d1"})
    assert conductor.get(f"/tasks/queue/sizes?taskType={conductor.name}").json == {conductor.name: 1}
    everything = conductor.get("/tasks/queue/all").json
    assert (everything[conductor.name], everything[f"d1:{conductor.name}"]) == (1, 1)
