"""Whether anything grows: workers under a modest, constant load for hours on the embedded services.

    .venv/bin/python bench/soak.py [--hours 2] [--rate 4] [--slots 4] [--kill-every 300] [--csv FILE]

Nine in ten runs record metrics on one worker, the others change a workspace on a branch of their own on
another one. Every output is compared with what it must be, published files are read back, and an executor is
killed every few minutes.
Repositories are replaced as the run goes on, so that contents leave the cache, which may take 1 MB.

Each minute everything is looked at: memory, descriptors, threads, files, journal, series. After the warm-up
the medians of the first and of the last looks are compared; the run fails where the last is above the first
by more than the bound in the table, or where a run is lost or wrong. The embedded server keeps its 10,000
latest finished runs by design: its memory counts from the moment that it holds so many.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common import MODULES, Started, marked, perago_command, worker
from growth import BOUNDS, EDIT, RECORD, Growth, Places, look_at_server, look_at_worker
from lake import services

from support.conductor import FINAL, Conductor
from support.lake import KEY, Lake
from support.metrics import MetricStore
from support.processes import Process
from support.waiting import until

sys.path.insert(0, str(MODULES))
from soak_shared import digest

RECORD_TASK, EDIT_TASK = "bench.soak.record", "bench.soak.edit"
EDIT_EACH = 10
LONG_EACH, LONG_SECONDS = 7, 3.0
RETRIES = 5
LOOK_EVERY_SECONDS = 60.0
NEW_REPOSITORY_SECONDS = 300.0
FILES, FILE_CHARACTERS = 40, 4096
KEPT_FINISHED_RUNS = 10_000
LONGEST_RUN_SECONDS = 60.0
CHECK_AFTER_SECONDS = 1.0
MEDIAN_OF = 10
ALL_SERIES = {"service.name": "perago"}


@dataclass
class Run:
    """A run that was started, and what it must return."""

    id: str
    started: float
    digest: str
    text: str
    repository: Lake | None = None
    branch: str = ""


@dataclass
class Load:
    """Starts runs and checks them."""

    conductor: Conductor
    store: str
    source: random.Random
    number: int = 0
    completed: int = 0
    retried: int = 0
    edits: int = 0
    pending: deque[Run] = field(default_factory=deque)
    repositories: list[tuple[Lake, str, list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def new_repository(self) -> None:
        """Use a new repository from now on, and delete the one before the last."""
        lake = Lake("embedded", self.store, KEY, KEY)
        contents = [self.source.randbytes(FILE_CHARACTERS // 2).hex() for _ in range(FILES)]
        for number, content in enumerate(contents):
            assert lake.put("main", f"in/{number:03}", content).status == 201
        self.repositories.append((lake, str(lake.commit("main").json["id"]), contents))
        if len(self.repositories) > 2:
            old, _, _ = self.repositories.pop(0)
            assert old.call("DELETE", f"/repositories/{old.name}").status == 204

    def start(self) -> None:
        """Start the next run."""
        self.number += 1
        number, text = self.number, self.source.randbytes(self.source.randrange(16, 512)).hex()
        seconds = 0.0 if number % LONG_EACH else LONG_SECONDS
        params = {"number": number, "text": text, "seconds": seconds}
        if number % EDIT_EACH:
            run = self.conductor.start(RECORD_TASK, params)
            self.pending.append(Run(run, time.monotonic(), digest(str(number), text), text))
            return
        lake, commit, contents = self.repositories[-1]
        branch = f"run-{number}"
        assert lake.branch(branch, commit).status == 201
        workspace = {"repository": lake.name, "branch": branch, "refType": "commit", "ref": commit}
        run = self.conductor.start(EDIT_TASK, params, workspace)
        wanted = digest(str(number), *contents)
        self.pending.append(Run(run, time.monotonic(), wanted, text, lake, branch))

    def check(self) -> None:
        """Look at the runs that should be over by now."""
        now, again = time.monotonic(), []
        while self.pending and now - self.pending[0].started > CHECK_AFTER_SECONDS:
            run = self.pending.popleft()
            shown = self.conductor.workflow(run.id)
            if shown["status"] in FINAL:
                self._judge(run, shown)
            elif now - run.started > LONGEST_RUN_SECONDS:
                self.problems.append(f"{run.id} is {shown['status']} after {LONGEST_RUN_SECONDS:.0f} s")
            else:
                again.append(run)
        self.pending.extendleft(reversed(again))

    def _judge(self, run: Run, shown: dict) -> None:  # type: ignore[type-arg]
        self.retried += len(shown["tasks"]) - 1
        task = shown["tasks"][-1]
        output = task.get("outputData", {}).get("result")
        if shown["status"] != "COMPLETED" or output != {"digest": run.digest}:
            self.problems.append(f"{run.id} is {shown['status']} with {task.get('outputData')}")
            return
        self.completed += 1
        if run.repository is None:
            return
        self.edits += 1
        added = run.repository.get(run.branch, "in/added")
        if added.body.decode() != run.text:
            self.problems.append(f"{run.id}: {run.branch} has {added.status} {added.body!r}")
        assert run.repository.here("DELETE", f"/branches/{run.branch}").status == 204


@dataclass
class Soak:
    """The whole run."""

    options: argparse.Namespace
    load: Load
    workers: dict[str, tuple[Started, Places]]
    server: int
    metrics: MetricStore
    growth: Growth = field(default_factory=Growth)
    kills: int = 0
    kept_full_at: float = 0.0

    def run(self) -> None:
        """Load, look and kill until the time is over; then wait for what is still open."""
        begun = time.monotonic()
        end = begun + self.options.hours * 3600
        dues = {"start": begun, "look": begun + LOOK_EVERY_SECONDS, "repository": begun, "check": begun}
        dues["kill"] = begun + self.options.kill_every
        every = {
            "start": 1 / self.options.rate,
            "look": min(LOOK_EVERY_SECONDS, self.options.hours * 3600 / 30),
            "repository": NEW_REPOSITORY_SECONDS,
            "check": 1.0,
            "kill": self.options.kill_every,
        }
        actions = {
            "repository": self.load.new_repository,
            "start": self.load.start,
            "check": self.load.check,
            "look": self.look,
            "kill": self.kill,
        }
        while time.monotonic() < end:
            for name, action in actions.items():
                if time.monotonic() >= dues[name]:
                    action()
                    dues[name] += every[name]
            if not self.kept_full_at and self.load.completed >= KEPT_FINISHED_RUNS:
                self.kept_full_at = time.monotonic() - begun
            time.sleep(max(0.0, min(dues.values()) - time.monotonic()))
        until(self._is_settled, "the end of all runs", LONGEST_RUN_SECONDS)

    def _is_settled(self) -> bool:
        self.load.check()
        return not self.load.pending

    def look(self) -> None:
        """Look at everything."""
        server = look_at_server(self.server, sum(self.metrics.names(**ALL_SERIES).values()))
        seen = {f"server.{column}": value for column, value in server.items()}
        for name, (started, places) in self.workers.items():
            columns = look_at_worker(started, places)
            seen |= {f"{name}.{column}": value for column, value in columns.items()}
        self.growth.add(seen)
        load = self.load
        workers = []
        for name in self.workers:
            pss, descriptors, files, journal = (
                seen[f"{name}.{column}"]
                for column in ("supervisor_pss", "supervisor_descriptors", "state_files", "journal_kilobytes")
            )
            workers.append(
                f"{name} {pss:.2f} MiB {descriptors} descriptors {files} files, journal {journal:.0f} KiB"
            )
        print(
            f"{self.growth.rows[-1][0]:6.0f} s  {load.number} started, {load.completed} completed, "
            f"{len(load.problems)} wrong, {self.kills} kills; {', '.join(workers)}, "
            f"server {seen['server.pss']:.1f} MiB",
            flush=True,
        )

    def kill(self) -> None:
        """Kill an executor of one worker, of the other one next time."""
        started, _ = list(self.workers.values())[self.kills % len(self.workers)]
        os.kill(self.load.source.choice(executors_of(started)).pid, signal.SIGKILL)
        self.kills += 1

    def end(self) -> list[str]:
        """Compare the store's totals, stop the worker; return what is wrong."""
        load = self.load

        def all_are_pushed() -> bool:
            return (self.metrics.value("app.handled_count") or 0) >= load.completed

        try:
            until(all_are_pushed, "the last samples", 120)
        except AssertionError as error:
            load.problems.append(str(error))
        handled = self.metrics.value("app.handled_count") or 0
        if not load.completed <= handled <= load.completed + load.retried:
            load.problems.append(
                f"{handled:.0f} samples of {load.completed} completed and {load.retried} repeated bodies"
            )
        print(f"samples in the store: {handled:.0f}, of {load.completed} completed bodies")
        return [problem for worker in self.workers.values() for problem in stop(*worker)]


def stop(started: Started, places: Places) -> list[str]:
    """Stop a worker; return what is left of it."""
    os.kill(started.process.pid, signal.SIGTERM)
    code = started.process.wait(30)
    until(lambda: not started.pids(), "the end of all processes", 10)
    problems = [] if code == 0 else [f"a worker ended with {code}"]
    left = [path.name for path in places.workspaces.glob("task_id=*")]
    return problems + ([f"workspaces are left: {left}"] if left else [])


@contextmanager
def soak(options: argparse.Namespace, folder: Path) -> Iterator[Soak]:
    """Start the services and the two workers on empty folders."""
    with services(folder / "server", False, True) as found:
        conductor = Conductor(found.conductor_url, "embedded")
        conductor.define(RECORD_TASK, retryCount=RETRIES)
        conductor.define(EDIT_TASK, has_workspace=True, retryCount=RETRIES)
        variables = {
            **found.variables(),
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{found.base}/opentelemetry/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "10000",
            "PERAGO_WORKSPACE_CACHE_MAX_SIZE": "1MB",
            "PERAGO_WORKSPACE_GC_INTERVAL": "10m",
        }
        with ExitStack() as stack:
            workers = {}
            for name, module in ((RECORD, "soak_record"), (EDIT, "soak_edit")):
                root = folder / name
                root.mkdir()
                cache = root / "cache"
                own = {"PERAGO_WORKSPACE_CACHE_DIR": str(cache), "PERAGO_INSTANCE_ID": name}
                started = stack.enter_context(
                    worker(
                        perago_command(), module, found.conductor_url, options.slots, root, **variables, **own
                    )
                )
                until(lambda started=started: len(executors_of(started)) == options.slots, "executors", 60)
                workers[name] = started, Places(root / "state", root / "workspaces", cache, root / "logs")
            load = Load(conductor, found.base, random.Random(options.seed))
            yield Soak(options, load, workers, found.process_id, MetricStore(found.base))


def executors_of(started: Started) -> list[Process]:
    """The processes of a worker that run bodies."""
    return [process for process in marked(started.mark) if process.is_executor]


def report(soaked: Soak, problems: list[str], seconds: float) -> None:
    """Print the table and the counts."""
    options, load = soaked.options, soaked.load
    warm_up = min(600.0, seconds / 6)
    # Of a run too short to fill the server's history, its memory says nothing.
    later = {"server.pss": soaked.kept_full_at or seconds}
    print()
    print("\n".join(soaked.growth.table(warm_up, seconds / 4, MEDIAN_OF, later)))
    problems += soaked.growth.problems(warm_up, MEDIAN_OF, later) + load.problems
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["seconds", *BOUNDS])
            writer.writerows([at, *(seen[column] for column in BOUNDS)] for at, seen in soaked.growth.rows)
    last = soaked.growth.rows[-1][1]
    shares = ", ".join(
        f"{name} {100 * last[f'{name}.processor'] / seconds:.1f} %" for name in (*soaked.workers, "server")
    )
    print(
        f"\n{seconds / 3600:.2f} h, {load.number} runs started, {load.completed} completed as they must, "
        f"of these {load.edits} with a workspace; {load.retried} attempts repeated, "
        f"{soaked.kills} executors killed; processor time of a core: {shares}"
    )
    for problem in problems:
        print(f"problem: {problem}")
    print("FAILED" if problems else "passed", flush=True)


def main() -> int:
    """Run, print, and return 0 if nothing grew and nothing was wrong."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--hours", type=float, default=2)
    made.add_argument("--rate", type=float, default=4, help="runs started each second")
    made.add_argument("--slots", type=int, default=4)
    made.add_argument("--kill-every", type=float, default=300, help="seconds between kills of an executor")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--csv", type=Path, help="where all looks are written")
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as name, soak(options, Path(name)) as soaked:
        begun = time.monotonic()
        soaked.run()
        seconds = time.monotonic() - begun
        problems = soaked.end()
    report(soaked, problems, seconds)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
