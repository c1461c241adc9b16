"""What the benchmarks share: the command, the peer, processes, and how figures are printed."""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_POLL_SECONDS = 1.5
MODULES = Path(__file__).resolve().parent / "modules"
sys.path.insert(0, str(ROOT / "tests"))

from support import rust  # noqa: E402
from support.command import environment, perago_command  # noqa: E402
from support.conductor import Conductor  # noqa: E402
from support.processes import MARK, marked  # noqa: E402

rust_program = functools.partial(rust.rust_program, optimised=True)
"""The path of a binary of tasks in Rust, as authors would build it."""

__all__ = ["MARK", "MODULES", "ROOT", "Conductor", "environment", "marked", "perago_command", "rust_program"]


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--peer",
        type=Path,
        help="the `perago` command of a virtual environment with perago==0.6.1, to measure beside ours",
    )
    made.add_argument(
        "--conductor",
        default=os.environ.get("PERAGO_TEST_CONDUCTOR_URL"),
        help="API base of a real Conductor (default: PERAGO_TEST_CONDUCTOR_URL, else the embedded engine)",
    )
    return made


def spread(values: list[float], digits: int = 3) -> str:
    """Return `median (min to max)`."""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def pss_megabytes(pids: list[int]) -> float:
    """Return the sum of proportional set sizes: pages count once over all that share them."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def resident_megabytes(pid: int, field: str = "VmRSS") -> float:
    """Return what is resident of a process, or with `VmHWM` the most that ever was; no page cache."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"no {field} of process {pid}")


def forget_peak(pid: int) -> None:
    """Have the most that was ever resident counted from now on (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def quiet(pids: list[int]) -> bool:
    """Whether these processes use next to no processor time."""
    before = cpu_seconds(pids)
    time.sleep(1)
    return cpu_seconds(pids) - before < 0.05


def cpu_seconds(pids: list[int]) -> float:
    """Return the processor time of these processes so far, with the children that they waited for."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(url: str | None) -> Iterator[Conductor]:
    """Yield the given server, or an embedded engine for as long as the block runs."""
    if url:
        yield Conductor(url, "real")
        return
    with tempfile.TemporaryDirectory() as folder:
        engine = subprocess.Popen(
            [*perago_command(), "dev", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(Path(folder)),
        )
        assert engine.stdout is not None
        base = engine.stdout.readline().split()[-1]
        try:
            yield Conductor(f"{base}/api", "embedded")
        finally:
            engine.terminate()
            engine.wait(10)


@contextmanager
def worker(
    command: list[str], module: str, url: str, slots: int, folder: Path, **variables: str
) -> Iterator[Started]:
    """Start a worker of ours or of the peer, with further variables."""
    mark = f"bench-{time.monotonic_ns()}"
    own = {"CONDUCTOR_SERVER_URL": url, "PYTHONPATH": str(MODULES), MARK: mark}
    all_variables = environment(folder, **{**own, **variables})
    process = subprocess.Popen(
        [*command, "start", module, "-j", str(slots)],
        cwd=folder,
        env=all_variables,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Started(process, mark)
    finally:
        stop(process, mark)


def stop(process: subprocess.Popen[bytes], mark: str) -> None:
    """End a worker. One that does not end by itself is killed, and its last poll given time to run out.

    A server gives a task also to a poll whose client has gone away: it would be missing from the next run.
    """
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for found in marked(mark):
            try:
                os.kill(found.pid, 9)
            except ProcessLookupError:
                continue
        process.wait()
        time.sleep(LONGEST_POLL_SECONDS)


def build_example(package: str, name: str) -> str:
    """Build an example program of a crate for release; return its path."""
    build = ["cargo", "build", "--release", "--quiet", "-p", package, "--example", name]
    subprocess.run(build, cwd=ROOT, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, capture_output=True
    )
    target = json.loads(metadata.stdout)["target_directory"]
    return str(Path(target) / "release" / "examples" / name)


class Started:
    """A running worker."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self.process = process
        self.mark = mark

    def pids(self) -> list[int]:
        """Return the processes of the worker."""
        return [found.pid for found in marked(self.mark)]
