"""What a recording thread leaves behind whatever happens to it: a file, stepped before and after each call.

The file is mapped, so that a step is a plain store, which outlives a SIGKILL. Used by the task that records
and by the test that counts, so it needs nothing but the standard library.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILE_BYTES = mmap.PAGESIZE
SUFFIX = ".witness"
SONGS = 12
# Bounds of the general ladder that binary numbers hold exactly: each recorder has a bucket of its own.
VALUES = tuple(step * 10**power for power in range(6) for step in (1.0, 2.5, 5.0))
CHUNK = 3.0
SONG = 0.5


@dataclass(frozen=True)
class Counter:
    """One series that a recorder records into, and where its two steps are."""

    index: int
    name: str
    labels: tuple[tuple[str, str], ...]
    kind: str

    @property
    def before(self) -> int:
        """The word that is stepped before a call."""
        return 2 * self.index

    @property
    def after(self) -> int:
        """The word that is stepped after a call."""
        return 2 * self.index + 1


def counters(recorder: int) -> list[Counter]:
    """Return what recorder number `recorder` of a body records, in the order of its calls."""
    thread = ("thread", str(recorder))
    series: list[tuple[str, tuple[tuple[str, str], ...], str]] = [
        ("items", (), "histogram"),
        ("chunks", (("stage", "decode"), thread), "histogram"),
        ("step_seconds", (), "timer"),
        ("model_call", (("provider", "local"),), "timer"),
        ("depth", (), "gauge"),
        ("position", (thread,), "gauge"),
        *((("songs", (("song", str(song)),), "histogram")) for song in range(SONGS)),
    ]
    return [Counter(index, *one) for index, one in enumerate(series)]


COUNTERS = len(counters(0))
# After the steps: the values last given to the two gauges, as floats.
DEPTH, POSITION = 2 * COUNTERS, 2 * COUNTERS + 1
_SERIAL = itertools.count()


def value_of(slot: int, recorder: int, recorders: int) -> float:
    """Return what this recorder gives to `items`; recorders beyond the values share one."""
    return VALUES[((slot - 1) * recorders + recorder) % len(VALUES)]


@dataclass
class Words:
    """A mapped file as unsigned numbers, and its last two words as floats."""

    steps: memoryview
    gauges: memoryview


@contextmanager
def witness(folder: Path, slot: int, recorder: int, value: float) -> Iterator[Words]:
    """Make the file of one recorder of one run of a body."""
    process, executor = os.getpid(), int(os.environ["CHAOS_EXECUTOR"])
    path = folder / f"{slot}-{recorder}-{executor}-{process}-{next(_SERIAL)}-{value!r}{SUFFIX}"
    partial = path.with_suffix(".partial")
    with partial.open("w+b") as file:
        file.truncate(FILE_BYTES)
        mapping = mmap.mmap(file.fileno(), FILE_BYTES)
    # Nothing is recorded before the file has the name by which it is counted.
    partial.rename(path)
    whole = memoryview(mapping)
    yield Words(whole.cast("Q"), whole.cast("d"))


@dataclass(frozen=True)
class Witness:
    """A file, read."""

    slot: int
    recorder: int
    executor: int
    process: int
    value: float
    steps: tuple[int, ...]
    depth: float
    position: float

    def begun(self, counter: Counter) -> int:
        """Return how many calls were begun."""
        return self.steps[counter.before]

    def finished(self, counter: Counter) -> int:
        """Return how many calls have returned."""
        return self.steps[counter.after]

    @property
    def in_flight(self) -> int:
        """How many calls had begun and not returned."""
        return sum(self.steps[0::2]) - sum(self.steps[1::2])


def read_all(folder: Path) -> list[Witness]:
    """Read every file of a folder."""
    return list(_read(sorted(folder.glob(f"*{SUFFIX}"))))


def _read(paths: Iterable[Path]) -> Iterator[Witness]:
    for path in paths:
        slot, recorder, executor, process, _, value = path.name.removesuffix(SUFFIX).split("-")
        content = path.read_bytes()
        steps = struct.unpack_from(f"={2 * COUNTERS}Q", content)
        depth, position = struct.unpack_from("=2d", content, 8 * DEPTH)
        yield Witness(
            int(slot), int(recorder), int(executor), int(process), float(value), steps, depth, position
        )
