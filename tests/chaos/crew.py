"""Workers under attack: killed, with their executors, and started again on what they left."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from support.processes import Process
from support.waiting import until
from support.worker import Worker

from .ledger import Findings, Ledger
from .stores import History, WholeStore

# A successor that is killed while it starts lives for at most this long.
LONGEST_START_SECONDS = 0.6
GONE_WITHIN_SECONDS = 10.0
# A label of all series of one instance.
INSTANCE_LABEL = "crew"
# How often a victim is one that runs a body, where there is one.
BUSY_SHARE = 0.7


@dataclass
class Kills:
    """Who was killed, and how long the processes of a killed supervisor outlived it."""

    executors: int = 0
    supervisors: int = 0
    restarts: int = 0
    seconds_to_gone: list[float] = field(default_factory=list)


class Instance:
    """One worker with its successors, as a service manager keeps it: what ends is started again.

    Args:
        root: Its folder; two instances share nothing on the disk.
        task: The task.
        url: Conductor's API base.
        module: The module that declares the task.
        slots: How many bodies run at once.
        variables: Further variables.
    """

    def __init__(self, root: Path, task: str, url: str, module: str, slots: int, **variables: str) -> None:
        self.root, self.task, self.slots = root, task, slots
        self.name = root.name
        self.kills = Kills()
        self.last_words: list[str] = []
        self.witnesses = root / "witnesses"
        self.witnesses.mkdir(parents=True)
        self._url, self._module = url, module
        self._variables = {
            "PERAGO_INSTANCE_ID": f"{task}.{self.name}",
            "PERAGO_HOST_ID": self.name,
            "OTEL_RESOURCE_ATTRIBUTES": f"{INSTANCE_LABEL}={self.name}",
            "CHAOS_WITNESSES": str(self.witnesses),
            **variables,
        }
        self.worker = self._started()

    def _started(self) -> Worker:
        slots = ("-j", str(self.slots))
        return Worker(self.root, self._url, self.task, *slots, module=self._module, **self._variables)

    def keep(self) -> None:
        """Start another worker if this one has ended by itself: its server may have been away then."""
        if self.worker.process.poll() is not None:
            self.worker.end()
            self.kills.restarts += 1
            self.last_words.append(" ".join(self.worker.stderr))
            self.follow()

    def kill_executor(self, chance: random.Random, busy: set[int]) -> None:
        """Kill one executor, mostly one that is `busy`; nobody if none is there."""
        victims = self.worker.executors()
        at_work = [victim for victim in victims if victim.pid in busy]
        if at_work and chance.random() < BUSY_SHARE:
            victims = at_work
        if victims:
            try:
                os.kill(chance.choice(victims).pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            self.kills.executors += 1

    def kill_supervisor(self, chance: random.Random) -> None:
        """Kill the supervisor, and every third time its successor too while it starts."""
        self.kill()
        if chance.random() < 1 / 3:
            time.sleep(chance.uniform(0, LONGEST_START_SECONDS))
            self.kill()

    def follow(self) -> None:
        """Start the successor of a worker that has ended or is about to."""
        self.worker = self._started()

    def kill(self) -> None:
        """Kill the supervisor, start its successor at once, and wait for the end of what was left."""
        dead = self.worker
        at = dead.signal(signal.SIGKILL)
        self.follow()
        left: list[Process] = []

        def is_gone() -> bool:
            left[:] = dead.processes()
            return not left

        until(is_gone, f"the end of {left}", GONE_WITHIN_SECONDS)
        self.kills.seconds_to_gone.append(time.monotonic() - at)
        dead.wait()
        self.kills.supervisors += 1

    def left_behind(self) -> list[str]:
        """What is left of a worker that was stopped: directories of attempts, locks, undelivered results."""
        found = [str(path) for path in (self.root / "workspaces").glob("task_id=*")]
        found += [str(path) for path in (self.root / "workspaces").glob(".perago-supervisor.lock")]
        found += [str(path) for path in (self.root / "state").rglob("*.lock") if not _is_free(path)]
        status = self.worker.command("status")
        if status.returncode != 0:
            found.append(f"{self.name}: {status.stdout.strip()}")
        return found

    def books(self, store: WholeStore) -> Findings:
        """Compare what bodies recorded here with what the store shows."""
        history = History(store, self.task, **{INSTANCE_LABEL: self.name})
        history.look()
        findings = Ledger(self.witnesses).compare(history)
        findings.problems += history.falls()
        # One call in flight for each body that was killed.
        most = self.kills.executors + self.kills.supervisors * self.slots
        findings.expect(findings.in_flight <= most, f"{findings.in_flight} calls in flight, more than {most}")
        findings.problems = [f"{self.name}: {problem}" for problem in findings.problems]
        return findings


def _is_free(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
