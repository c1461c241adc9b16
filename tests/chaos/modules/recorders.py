"""What every recording thread of a campaign does: every series in turn, each call between two steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from witness import CHUNK, COUNTERS, DEPTH, POSITION, SONG, SONGS, counters, witness

from perago import MetricRecorder

ROUNDS_A_BATCH = 20


def record(
    metrics: MetricRecorder,
    folder: Path,
    slot: int,
    recorder: int,
    value: float,
    goes_on: Callable[[], bool],
) -> None:
    """Record into every series in turn, each call between two steps."""
    own = counters(recorder)
    thread = str(recorder)
    songs = own[COUNTERS - SONGS :]
    items, chunks, step, call, depth, position = own[: COUNTERS - SONGS]
    with witness(folder, slot, recorder, value) as words:
        steps, gauges = words.steps, words.gauges
        # At least once: with many threads the time may be over before the last one has begun.
        while True:
            for _ in range(ROUNDS_A_BATCH):
                steps[items.before] += 1
                metrics.histogram("items", value)
                steps[items.after] += 1

                steps[chunks.before] += 1
                metrics.histogram("chunks", CHUNK, labels={"stage": "decode", "thread": thread})
                steps[chunks.after] += 1

                steps[step.before] += 1
                with metrics.timer("step_seconds"):
                    pass
                steps[step.after] += 1

                steps[call.before] += 1
                with metrics.timer("model_call", labels={"provider": "local"}):
                    pass
                steps[call.after] += 1

                gauges[DEPTH] = mark(steps[depth.before], recorder)
                steps[depth.before] += 1
                metrics.gauge("depth", gauges[DEPTH])
                steps[depth.after] += 1

                gauges[POSITION] = mark(steps[position.before], recorder)
                steps[position.before] += 1
                metrics.gauge("position", gauges[POSITION], labels={"thread": thread})
                steps[position.after] += 1

                for song in songs:
                    steps[song.before] += 1
                    metrics.histogram("songs", SONG, labels=dict(song.labels))
                    steps[song.after] += 1
            if not goes_on():
                return


def mark(calls: int, recorder: int) -> int:
    """Return a whole number that other recorders do not give to a gauge at the same time."""
    return calls << 12 | (os.getpid() + recorder) & 0xFFF
