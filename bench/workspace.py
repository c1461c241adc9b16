"""What the workspace of an attempt costs: time, memory, requests; beside the peer and a plain parallel copy.

    .venv/bin/python bench/workspace.py [--rounds 5] [--parts small,large,growth,memory,requests] [--peer …]

Everything runs on the embedded engine and store; where PERAGO_TEST_LAKEFS=1, again on the real lakeFS that
the LAKECTL_* variables name. An attempt counts from its claim to its accepted result, as the engine's own
records say. Each starts from the same commit on a branch of its own, and what it has published is looked at.
"Cold" is the first attempt of a new worker with an empty cache, "warm" its second one. The copy makes its
directory, the branch and the merge as well, but verifies, caches and fences nothing. The last lines are the
tables of RESULTS.md.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from common import (
    Conductor,
    Started,
    build_example,
    forget_peak,
    parser,
    perago_command,
    pss_megabytes,
    quiet,
    resident_megabytes,
    spread,
    worker,
)
from lake import Repository, Services, services, wants_real_lakefs

from support.conductor import FINAL
from support.lakefs_requests import changes_branch, reads_object, writes_object
from support.proxy import Exchange, Proxy
from support.waiting import until

TASK = "bench.workspace"
SMALL_FILE_BYTES = 12
COPIES_AT_ONCE = 64
MEBIBYTE = 1024 * 1024
LOOK_EVERY_SECONDS = 0.1
GROWTH = (12_500, 25_000, 50_000)


@dataclass
class Bench:
    """What all parts share."""

    services: Services
    conductor: Conductor
    folder: Path
    copier: str
    peer: Path | None
    rounds: int
    tables: list[str] = field(default_factory=list)

    @contextmanager
    def worker(self, command: list[str], store: str | None = None) -> Iterator[Started]:
        """Start a worker with folders of its own; `store` is a way to the store that is not the plain one."""
        variables = self.services.variables()
        if store:
            variables["LAKECTL_SERVER_ENDPOINT_URL"] = store
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as place:
            url = self.services.conductor_url
            variables["PERAGO_WORKSPACE_CACHE_DIR"] = str(Path(place) / "cache")
            with worker(command, "adding", url, 1, Path(place), **variables) as started:
                yield started

    def attempt(self, repository: Repository, commit: str, added_bytes: int = SMALL_FILE_BYTES) -> float:
        """Run one attempt from a commit; return its seconds from claim to result."""
        branch = repository.branch(commit)
        body = {"workspace": repository.workspace(branch, commit), "params": {"added_bytes": added_bytes}}
        run = str(self.conductor.call("POST", "/workflow", {"name": TASK, "version": 1, "input": body}))
        # Seldom: the process that answers this question is the store that is measured.
        while self.conductor.status(run) not in FINAL:
            time.sleep(LOOK_EVERY_SECONDS)
        task = self.conductor.last_task(run)
        assert task["status"] == "COMPLETED", task
        published = task["outputData"]["workspace"]["ref"]
        assert (published != commit) == bool(added_bytes)
        assert repository.added_bytes(branch) == (added_bytes or None)
        return float(task["endTime"] - task["startTime"]) / 1000

    def copy(self, repository: Repository, commit: str) -> float:
        """Run the plain copy from a commit; return its seconds."""
        branch = repository.branch(commit)
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            command = [self.copier, repository.name, branch, "in/", place, str(COPIES_AT_ONCE)]
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=self.services.variables()
            )
        assert repository.added_bytes(branch) == SMALL_FILE_BYTES
        return float(done.stdout)


@dataclass
class Times:
    """Seconds of each contender."""

    copy: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    def row(self, title: str) -> str:
        """One row of the table."""
        measured = (self.copy, self.cold, self.warm, self.peer)
        cells = [in_seconds(times) if times else "" for times in measured]
        return f"| {' | '.join([title, *cells])} |"


def in_seconds(times: list[float]) -> str:
    """Return `median s (min to max)`, or the only figure."""
    return spread(times).replace(" (", " s (") if len(times) > 1 else f"{times[0]:.3f} s"


def contend(bench: Bench, title: str, repository: Repository, commit: str, rounds: int) -> Times:
    """Let the contenders take turns, each first in every second round. The peer has one attempt."""
    times = Times()

    def ours() -> None:
        with bench.worker(perago_command()):
            times.cold.append(bench.attempt(repository, commit))
            times.warm.append(bench.attempt(repository, commit))

    def plain() -> None:
        times.copy.append(bench.copy(repository, commit))

    turns: list[Callable[[], None]] = [plain, ours]
    for number in range(rounds):
        for turn in turns if number % 2 else reversed(turns):
            turn()
        print(
            f"{title}, round {number + 1}: copy {times.copy[-1]:.3f} s, cold {times.cold[-1]:.3f} s, "
            f"warm {times.warm[-1]:.3f} s",
            flush=True,
        )
    if bench.peer:
        with bench.worker([str(bench.peer)]):
            times.peer.append(bench.attempt(repository, commit))
        print(f"{title}: peer {times.peer[-1]:.3f} s", flush=True)
    return times


HEAD = (
    f"| one small file added to | copy, {COPIES_AT_ONCE} at once "
    "| perago, cold | perago, warm | peer 0.6.1 |\n"
    "| --- | --- | --- | --- | --- |"
)


def small(bench: Bench) -> None:
    """2,000 files of 4 KiB."""
    repository = Repository(bench.services)
    commit = repository.fill(range(2000), 4096)
    times = contend(bench, "2,000 files of 4 KiB", repository, commit, bench.rounds)
    bench.tables += [HEAD, times.row("2,000 files of 4 KiB")]


def large(bench: Bench) -> None:
    """One file of 256 MiB."""
    repository = Repository(bench.services)
    commit = repository.fill(range(1), 256 * MEBIBYTE)
    times = contend(bench, "one file of 256 MiB", repository, commit, bench.rounds)
    if not bench.tables:
        bench.tables.append(HEAD)
    bench.tables.append(times.row("one file of 256 MiB"))


def growth(bench: Bench) -> None:
    """12,500, 25,000 and 50,000 files of 1 KiB: the milliseconds for one file stay what they are."""
    repository = Repository(bench.services)
    bench.tables += [
        "\n| files of 1 KiB | copy | perago, cold | for one file | perago, warm | for one file |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    before = 0
    without_peer = replace(bench, peer=None)
    for files in GROWTH:
        commit = repository.fill(range(before, files), 1024)
        before = files
        times = contend(without_peer, f"{files:,} files", repository, commit, max(bench.rounds // 2, 1))
        cells = [f"{files:,}", in_seconds(times.copy)]
        for ours in (times.cold, times.warm):
            cells += [in_seconds(ours), f"{1e6 * statistics.median(ours) / files:.0f} µs"]
        bench.tables.append(f"| {' | '.join(cells)} |")


def memory(bench: Bench) -> None:
    """What is resident while a file of 1 GiB comes down and another one goes up."""
    repository, empty = Repository(bench.services), Repository(bench.services)
    commit = repository.fill(range(1), 1024 * MEBIBYTE)
    nothing = empty.fill(range(1), 16)
    with bench.worker(perago_command()) as started:
        bench.attempt(empty, nothing)
        until(lambda: quiet(started.pids()), "an idle worker", 60)
        supervisor, pids = started.process.pid, started.pids()
        idle, idle_sum = resident_megabytes(supervisor), pss_megabytes(pids)
        forget_peak(supervisor)
        sums = [idle_sum]
        with ThreadPoolExecutor(1) as pool:
            moving = pool.submit(bench.attempt, repository, commit, 1024 * MEBIBYTE)
            while not moving.done():
                sums.append(pss_megabytes(pids))
                time.sleep(0.01)
            seconds = moving.result()
        peak = resident_megabytes(supervisor, "VmHWM")
    bench.tables += [
        "\n| 1 GiB down and 1 GiB up | idle | at most | difference |",
        "| --- | --- | --- | --- |",
        f"| supervisor, resident | {idle:.1f} MiB | {peak:.1f} MiB | {peak - idle:.1f} MiB |",
        f"| all processes, sum of PSS, {len(sums)} looks | {idle_sum:.1f} MiB | {max(sums):.1f} MiB "
        f"| {max(sums) - idle_sum:.1f} MiB |",
        f"\nThe attempt took {seconds:.2f} s.",
    ]


def requests(bench: Bench) -> None:
    """What an attempt asks of the store, counted by a proxy in between."""
    repository = Repository(bench.services)
    commit = repository.fill(range(200), 4096)
    bench.tables += [
        "\n| 200 files of 4 KiB | objects read | bytes of objects | objects written "
        "| branches, commits, merges | other requests |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with Proxy(bench.services.store, keeps_host=True) as proxy, bench.worker(perago_command(), proxy.url):
        for title, added_bytes in (
            ("first attempt", SMALL_FILE_BYTES),
            ("again on the same host", SMALL_FILE_BYTES),
            ("a body that changes nothing", 0),
        ):
            # The worker goes on asking a little after its result: it tidies up.
            until(lambda: settled(proxy), "the end of requests", 60)
            proxy.exchanges.clear()
            bench.attempt(repository, commit, added_bytes)
            until(lambda: settled(proxy), "the end of requests", 60)
            bench.tables.append(row_of(title, proxy.exchanges))


def settled(proxy: Proxy) -> bool:
    """Whether no request comes for a moment."""
    before = len(proxy.exchanges)
    time.sleep(0.3)
    return len(proxy.exchanges) == before


def row_of(title: str, exchanges: list[Exchange]) -> str:
    """Count requests by what they do."""
    read = [one for one in exchanges if reads_object(one)]
    written = [one for one in exchanges if writes_object(one)]
    publishing = [one for one in exchanges if changes_branch(one)]
    other = len(exchanges) - len(read) - len(written) - len(publishing)
    size = sum(len(one.answer) for one in read)
    return f"| {title} | {len(read)} | {size:,} | {len(written)} | {len(publishing)} | {other} |"


PARTS = {"small": small, "large": large, "growth": growth, "memory": memory, "requests": requests}


def keep_apart(folder: str) -> None:
    """Ask ext4 to keep the directories of the contenders apart (chattr(1)).

    Without a journal it creates a file the slower the more were removed nearby in the last minutes: whoever
    comes second would pay for the first one's tidying.
    """
    subprocess.run(["chattr", "+T", folder], check=False, stderr=subprocess.DEVNULL)


def main() -> None:
    """Run the parts on each store and print the tables."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    arguments.add_argument(
        "--in-memory", action="store_true", help="the embedded store keeps objects in memory, not in files"
    )
    options = arguments.parse_args()
    parts = [part for part in PARTS if part in options.parts.split(",")]
    copier = build_example("perago-lakefs", "parallel_copy")
    for is_real in (False, True) if wants_real_lakefs() else (False,):
        with (
            tempfile.TemporaryDirectory() as folder,
            services(Path(folder), is_real, options.in_memory) as found,
        ):
            keep_apart(folder)
            conductor = Conductor(found.conductor_url, "embedded")
            conductor.define(TASK, has_workspace=True)
            bench = Bench(found, conductor, Path(folder), copier, options.peer, options.rounds)
            for part in parts:
                PARTS[part](bench)
            print(f"\n{found.kind}, {options.rounds} rounds\n")
            print("\n".join(bench.tables), flush=True)
    if not wants_real_lakefs():
        print("\nreal lakeFS: NOT RUN (PERAGO_TEST_LAKEFS=1 and the LAKECTL_* variables run it)")


if __name__ == "__main__":
    main()
