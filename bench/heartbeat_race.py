r"""Results of bodies that end within 5 ms of a beat: our worker's, and those of a client that waits for none.

    .venv/bin/python tests/services/run.py -- \
        .venv/bin/python bench/heartbeat_race.py [--trials 500] [--slots 16]

The real server reads a task, changes it and writes it back without a lock, so that a beat can undo a
result. Our worker reaches the server over a proxy, which tells a body to end when it passes on the body's
beat; trials that end later than that count for nothing. The other client sends a beat and, within 5 ms and
before its answer, a result. They take turns. Returns 0 when none of our results is lost and the other
client loses a tenth.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import MODULES, Conductor, parser, server

from support.proxy import Answer, Exchange, Proxy
from support.waiting import until
from support.worker import Worker

APART_SECONDS = 0.005
# Longer than a server of a busy machine may take to answer a poll.
RESPONSE_SECONDS = 6
ROUND = 50
# A beat that the server still handles is over by then.
QUIET_SECONDS = 1.0
SHOWN_OF_A_LOST_TASK = (
    "taskId",
    "status",
    "pollCount",
    "startTime",
    "updateTime",
    "endTime",
    "outputData",
    "reasonForIncompletion",
)
OTHER_CLIENTS_LEAST_LOSS = 0.1


class Starter:
    """Bodies wait on a socket until the beat of their task passes the proxy."""

    def __init__(self, path: Path, proxy: Proxy) -> None:
        self.path = str(path)
        self.beats: dict[str, float] = {}
        self.trials: dict[str, int] = {}
        self._waiting: dict[int, socket.socket] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self.calls: dict[str, list[str]] = {}
        proxy.before, proxy.after = self._before, self._after
        threading.Thread(target=self._accept, name="starter", daemon=True).start()

    def _accept(self) -> None:
        while True:
            body, _ = self._listener.accept()
            (trial,) = struct.unpack("=I", body.recv(4, socket.MSG_WAITALL))
            self._waiting[trial] = body

    def _note(self, moment: str, exchange: Exchange) -> None:
        """Write down a call about one task, to be shown if its result is lost."""
        task = exchange.path.rpartition("/")[2]
        if exchange.method == "POST" and exchange.path.endswith("/tasks"):
            task = json.loads(exchange.body)["taskId"]
        said = exchange.body.decode() or (moment == "answered" and exchange.answer.decode()[:300])
        line = f"{time.time():.3f} {moment} {exchange.method} {exchange.status or ''} {said}"
        self.calls.setdefault(task, []).append(line)

    def _after(self, exchange: Exchange) -> Answer | None:
        self._note("answered", exchange)
        return None

    def _before(self, exchange: Exchange) -> Answer | None:
        self._note("sent", exchange)
        if exchange.method != "POST" or not exchange.path.endswith("/tasks"):
            return None
        update = json.loads(exchange.body)
        if not update.get("extendLease"):
            return None
        body = self._waiting.pop(self.trials[update["workflowInstanceId"]], None)
        if body is not None:
            now = time.time()
            self.beats[update["taskId"]] = now
            # Most of the five milliseconds, so that a slow wake-up is within them too.
            body.sendall(struct.pack("=d", now + random.uniform(0, 0.7 * APART_SECONDS)))
            body.close()
        return None


class Ours:
    """Trials of our worker."""

    def __init__(self, conductor: Conductor, task: str, starter: Starter) -> None:
        self._conductor, self._task, self._starter = conductor, task, starter
        self._next = 0
        self.counted = self.lost = self.late = self.expired = 0
        self.apart: list[float] = []

    def round(self, trials: int) -> None:
        """Make some trials, all at once as far as there are slots."""
        runs = {}
        for _ in range(trials):
            run = self._conductor.start(self._task, {"trial": self._next})
            self._starter.trials[run] = self._next
            runs[run] = self._next
            self._next += 1
        for run in runs:
            # A lost result leaves its run open until the lease ends and another attempt is made.
            self._conductor.wait(run, 120)
        time.sleep(QUIET_SECONDS)
        for run, trial in runs.items():
            self._judge(self._conductor.workflow(run)["tasks"], trial)

    def _judge(self, tasks: list[dict[str, Any]], trial: int) -> None:
        result = tasks[0]["outputData"].get("result", {})
        beat_at = self._starter.beats.get(tasks[0]["taskId"])
        if beat_at is None or (len(tasks) > 1 and tasks[0]["endTime"] / 1000 < beat_at):
            # The poll that brought it took longer than the lease.
            self.expired += 1
            return
        is_whole = (
            len(tasks) == 1
            and (tasks[0]["status"], tasks[0]["pollCount"]) == ("COMPLETED", 1)
            and result.get("trial") == trial
        )
        if not is_whole:
            self.counted += 1
            self.lost += 1
            for task in tasks:
                shown = {name: task.get(name) for name in SHOWN_OF_A_LOST_TASK}
                print(f"lost: {shown}", *self._starter.calls.get(task["taskId"], []), sep="\n  ", flush=True)
            return
        apart = result["ended_at"] - beat_at
        if apart <= APART_SECONDS:
            self.counted += 1
            self.apart.append(apart)
        else:
            self.late += 1


class Other:
    """Trials of a client that sends its result without waiting for the beat under way."""

    def __init__(self, conductor: Conductor, task: str, threads: int) -> None:
        self._conductor, self._task, self._threads = conductor, task, threads
        self.counted = self.lost = 0

    def round(self, trials: int) -> None:
        """Make some trials, several at once."""
        for _ in range(trials):
            self._conductor.start(self._task, {})
        with ThreadPoolExecutor(self._threads) as pool:
            claimed = list(pool.map(lambda _: self._trial(), range(trials)))
        time.sleep(QUIET_SECONDS)
        for task in claimed:
            shown = self._conductor.call("GET", f"/tasks/{task['taskId']}")
            self.counted += 1
            self.lost += shown["status"] != "COMPLETED" or shown["outputData"] != {"result": 1}
            if self._conductor.status(task["workflowInstanceId"]) == "RUNNING":
                self._conductor.terminate(task["workflowInstanceId"])

    def _trial(self) -> dict[str, Any]:
        claimed = until(
            lambda: self._conductor.call("GET", f"/tasks/poll/{self._task}?workerid=other"), "a task", 60
        )
        ids = {"workflowInstanceId": claimed["workflowInstanceId"], "taskId": claimed["taskId"]}
        beat = {**ids, "status": "IN_PROGRESS", "extendLease": True}
        done = {**ids, "status": "COMPLETED", "outputData": {"result": 1}, "workerId": "other"}
        beating, finishing = self._connection(), self._connection()
        # From one thread: another one would start whenever the machine lets it.
        _send(beating, self._conductor.url, beat)
        time.sleep(random.uniform(0, APART_SECONDS))
        _send(finishing, self._conductor.url, done)
        for connection in (beating, finishing):
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            connection.close()
        return dict(claimed)

    def _connection(self) -> http.client.HTTPConnection:
        """An open connection: what is measured is the server, not its accept queue."""
        base = urllib.parse.urlsplit(self._conductor.url)
        connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=60)
        connection.connect()
        return connection


def _send(connection: http.client.HTTPConnection, url: str, update: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    connection.request("POST", f"{urllib.parse.urlsplit(url).path}/tasks", json.dumps(update), headers)


def main() -> int:
    """Let both make their trials in turns, and print what they lost."""
    arguments = parser((__doc__ or "").partition("\n")[0])
    arguments.add_argument("--trials", type=int, default=500)
    arguments.add_argument("--slots", type=int, default=16)
    options = arguments.parse_args()
    tasks = [f"bench.race.{uuid.uuid4().hex[:8]}" for _ in range(2)]
    with (
        server(options.conductor) as conductor,
        tempfile.TemporaryDirectory() as folder,
        Proxy(conductor.url) as proxy,
    ):
        for task in tasks:
            conductor.define(task, retryCount=3, responseTimeoutSeconds=RESPONSE_SECONDS)
        starter = Starter(Path(folder) / "starter", proxy)
        ours, other = Ours(conductor, tasks[0], starter), Other(conductor, tasks[1], options.slots)
        variables = {"PYTHONPATH": str(MODULES), "RACE_SOCKET": starter.path}
        slots = ("-j", str(options.slots))
        with Worker(Path(folder), proxy.url, tasks[0], *slots, module="racing", **variables):
            while ours.counted < options.trials or other.counted < options.trials:
                if ours.counted < options.trials:
                    ours.round(ROUND)
                if other.counted < options.trials:
                    other.round(ROUND)
                print(
                    f"perago: {ours.lost} of {ours.counted} lost ({ours.late} ended too late to count,"
                    f" {ours.expired} had expired before);"
                    f" without waiting: {other.lost} of {other.counted} lost",
                    flush=True,
                )
    apart = sorted(ours.apart)
    print(
        f"bodies ended {apart[len(apart) // 2] * 1000:.1f} ms after their beat,"
        f" at most {apart[-1] * 1000:.1f} ms"
    )
    is_well = ours.lost == 0 and other.lost >= OTHER_CLIENTS_LEAST_LOSS * other.counted
    print("passed" if is_well else "FAILED")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
