"""What a worker and its server take at one moment, and by how much that has grown."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import Started, cpu_seconds, pss_megabytes, resident_megabytes

from support.processes import Process, marked


@dataclass(frozen=True)
class Bound:
    """How much more of something the end may have than the beginning.

    Args:
        title: What it is, with its unit.
        growth: The most that it may have grown, in that unit; None: it is shown only.
        most: The most that it may ever be; None: any amount.
    """

    title: str
    growth: float | None
    most: float | None = None


OF_WORKER = {
    "supervisor_pss": Bound("supervisor, PSS MiB", 3),
    "supervisor_rss": Bound("supervisor, resident MiB", 3),
    "supervisor_descriptors": Bound("supervisor, descriptors", 4),
    "supervisor_threads": Bound("supervisor, threads", 8),
    "guardian_pss": Bound("guardian, PSS MiB", 1),
    "guardian_descriptors": Bound("guardian, descriptors", 2),
    "executors": Bound("executors", 0),
    "executors_pss": Bound("executors, sum of PSS MiB", 6),
    "executors_descriptors": Bound("executors, descriptors", 4),
    "executors_threads": Bound("executors, threads", 4),
    "state_files": Bound("files of the state directory", 4),
    "state_kilobytes": Bound("state directory without journal, KiB", 64),
    "journal_kilobytes": Bound("journal, KiB", None, 4200),
    "workspace_files": Bound("files of workspaces, cache apart", 8),
    "cache_files": Bound("files of the cache", None),
    "cache_kilobytes": Bound("cache, KiB", None, 1200),
    "log_files": Bound("log files", 2),
    "log_kilobytes": Bound("logs, KiB (deleted by age)", None),
    "processor": Bound("processor time so far, s", None),
}
"""What is looked at of each worker."""
OF_SERVER = {
    "series": Bound("series in the metrics store", 0),
    "pss": Bound("embedded server, PSS MiB", 8),
    "descriptors": Bound("embedded server, descriptors", 8),
    "threads": Bound("embedded server, threads", 2),
    "processor": Bound("embedded server, processor time so far, s", None),
}
"""What is looked at of the server."""
RECORD, EDIT = "records", "edits"
BOUNDS = {f"server.{column}": bound for column, bound in OF_SERVER.items()} | {
    f"{name}.{column}": Bound(f"{name}: {bound.title}", bound.growth, bound.most)
    for name in (RECORD, EDIT)
    for column, bound in OF_WORKER.items()
}
"""Every column of a look."""

Look = dict[str, float]


@dataclass(frozen=True)
class Places:
    """Where a worker keeps its files."""

    state: Path
    workspaces: Path
    cache: Path
    logs: Path


def look_at_worker(started: Started, places: Places) -> Look:
    """Look at a worker once."""
    supervisor = started.process.pid
    found = marked(started.mark)
    guardian = next(process.pid for process in found if process.is_guardian)
    executors = [process for process in found if process.is_executor]
    state = list(files_of(places.state))
    journal = [size for path, size in state if path.name == "journal"]
    cache = [size for _, size in files_of(places.cache)]
    logs = [size for _, size in files_of(places.logs)]
    return {
        "supervisor_pss": pss_megabytes([supervisor]),
        "supervisor_rss": resident_megabytes(supervisor),
        "supervisor_descriptors": descriptors(supervisor),
        "supervisor_threads": threads(supervisor),
        "guardian_pss": pss_megabytes([guardian]),
        "guardian_descriptors": descriptors(guardian),
        **look_at_executors(executors),
        "state_files": len(state),
        "state_kilobytes": (sum(size for _, size in state) - sum(journal)) / 1024,
        "journal_kilobytes": sum(journal) / 1024,
        "workspace_files": sum(
            not path.is_relative_to(places.cache) for path, _ in files_of(places.workspaces)
        ),
        "cache_files": len(cache),
        "cache_kilobytes": sum(cache) / 1024,
        "log_files": len(logs),
        "log_kilobytes": sum(logs) / 1024,
        "processor": cpu_seconds(started.pids()),
    }


def look_at_server(pid: int, series: int) -> Look:
    """Look at the embedded server once."""
    return {
        "series": series,
        "pss": pss_megabytes([pid]),
        "descriptors": descriptors(pid),
        "threads": threads(pid),
        "processor": cpu_seconds([pid]),
    }


def look_at_executors(executors: list[Process]) -> Look:
    """What the executors take together; one that ends meanwhile is left out."""
    columns = ("executors", "executors_pss", "executors_descriptors", "executors_threads")
    sums = dict.fromkeys(columns, 0.0)
    for executor in executors:
        try:
            pid = executor.pid
            seen = (1.0, pss_megabytes([pid]), float(descriptors(pid)), float(threads(pid)))
        except OSError:
            continue
        for column, value in zip(columns, seen, strict=True):
            sums[column] += value
    return sums


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def files_of(root: Path) -> Iterable[tuple[Path, int]]:
    """All files below a folder with their sizes; one that goes meanwhile is left out."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            try:
                yield path, path.lstat().st_size
            except OSError:
                continue


class Growth:
    """Looks over time."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.rows: list[tuple[float, Look]] = []

    def add(self, seen: Look) -> None:
        """Note a look of now."""
        self.rows.append((time.monotonic() - self.started, seen))

    def table(self, warm_up: float, every: float, width: int, later: dict[str, float]) -> list[str]:
        """The columns as rows of a table: after the warm-up, then every so many seconds, the last, the slope.

        Args:
            warm_up: Seconds that do not count.
            every: Seconds between two columns.
            width: How many looks one figure is the median of.
            later: Columns that count only from a later second on.
        """
        counted = self._since(warm_up)
        moments = [counted[0][0]]
        while moments[-1] + every < counted[-1][0] - every / 2:
            moments.append(moments[-1] + every)
        heads = [f"{moment / 3600:.2f} h" for moment in [*moments, counted[-1][0]]]
        head = ["", *heads, "slope per hour", "growth", "may grow by"]
        lines = [row(head), row(["---"] * len(head))]
        for column, bound in BOUNDS.items():
            cells = [figure(self._median_at(moment, column, width)) for moment in moments]
            values = self._since(max(warm_up, later.get(column, 0)))
            cells += [figure(statistics.median(seen[column] for _, seen in values[-width:]))]
            cells += [figure(slope(values, column)), figure(self.growth(column, warm_up, width, later))]
            cells.append(figure(bound.growth) if bound.growth is not None else limit(bound))
            lines.append(row([bound.title, *cells]))
        return lines

    def growth(self, column: str, warm_up: float, width: int, later: dict[str, float]) -> float:
        """By how much the median of the last looks is above that of the first that count."""
        values = [seen[column] for _, seen in self._since(max(warm_up, later.get(column, 0)))]
        width = min(width, max(1, len(values) // 2))
        return statistics.median(values[-width:]) - statistics.median(values[:width])

    def problems(self, warm_up: float, width: int, later: dict[str, float]) -> list[str]:
        """What is beyond its bound."""
        found = []
        for column, bound in BOUNDS.items():
            grown = self.growth(column, warm_up, width, later)
            if bound.growth is not None and grown > bound.growth:
                found.append(f"{bound.title}: grew by {grown:.1f}, more than {bound.growth}")
            highest = max(seen[column] for _, seen in self.rows)
            if bound.most is not None and highest > bound.most:
                found.append(f"{bound.title}: was {highest:.1f}, more than {bound.most}")
        return found

    def _since(self, second: float) -> list[tuple[float, Look]]:
        return [one for one in self.rows if one[0] >= second] or self.rows[-1:]

    def _median_at(self, moment: float, column: str, width: int) -> float:
        near = [seen[column] for at, seen in self.rows if at >= moment][:width]
        return statistics.median(near)


def slope(rows: list[tuple[float, Look]], column: str) -> float:
    """The least-squares slope per hour."""
    if len(rows) < 2:
        return 0.0
    return statistics.linear_regression(
        [at / 3600 for at, _ in rows], [seen[column] for _, seen in rows]
    ).slope


def figure(value: float) -> str:
    """A number as the table shows it."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def limit(bound: Bound) -> str:
    """The most that something may ever be, if there is such a bound."""
    return "" if bound.most is None else f"at most {figure(bound.most)} in all"


def row(cells: list[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
