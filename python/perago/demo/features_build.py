"""``features.build``: measure how loud, bright and high a recording is, and add that to its workspace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, Field

from perago import MetricRecorder, MetricSpec, WorkspaceSpec, require_file, task
from perago.demo._recording import (
    RECORDING,
    Recording,
    amplitude,
    frame_levels,
    frequency_of,
    hann,
    read_recording,
)

FEATURES = "features.json"
"""Name of the file that this task adds."""

FRAMES_PER_SECOND = 100
PEAK_KEYS = range(36, 97)
CENTS_PER_KEY = 100
PEAK_STEP_CENTS = 5


class BuildFeaturesParams(BaseModel):
    """How to measure."""

    peak_window_seconds: float = Field(default=0.1, gt=0, le=1, description="Length of the loudest moment.")


class BuildFeaturesResult(BaseModel):
    """The features that one number tells."""

    frames: int = Field(description="Frames of 10 ms.")
    loudest_level: float = Field(description="Level of the loudest frame, 0 to 1.")
    mean_decibels: float = Field(description="Mean level below full scale.")
    zero_crossing_rate: float = Field(description="Changes of sign per second.")
    spectral_peak_hertz: float = Field(description="Strongest frequency of the loudest moment.")


class Features(BuildFeaturesResult):
    """Everything that the next task reads from the workspace."""

    levels: list[float] = Field(description="Level of each frame, 0 to 1.")


def zero_crossing_rate(recording: Recording) -> float:
    """Return how often per second the signal changes its sign."""
    samples = recording.samples
    crossings = sum((left < 0) != (right < 0) for left, right in pairwise(samples))
    return crossings * recording.sample_rate / max(len(samples), 1)


def spectral_peak(samples: Sequence[float], sample_rate: int) -> float:
    """Return the strongest frequency in hertz: by keys first, then between them in steps of five cents."""
    faded = hann(samples)

    def strength(key: float) -> float:
        return amplitude(faded, sample_rate, frequency_of(key))

    nearest = max(PEAK_KEYS, key=strength)
    cents = range(-CENTS_PER_KEY // 2, CENTS_PER_KEY // 2 + 1, PEAK_STEP_CENTS)
    return frequency_of(max((nearest + offset / CENTS_PER_KEY for offset in cents), key=strength))


@task(
    name="features.build",
    owner_email="data@example.com",
    description="Measures level, zero crossings and spectral peak of a WAV file.",
    workspace=WorkspaceSpec(pre=[require_file(RECORDING)], post=[require_file(FEATURES)]),
    metrics=MetricSpec(),
)
def build_features(
    workspace: Path, params: BuildFeaturesParams, metrics: MetricRecorder
) -> BuildFeaturesResult:
    """Measure one recording."""
    recording = read_recording(workspace / RECORDING)
    rate = recording.sample_rate
    metrics.histogram("input_files", 1)

    with metrics.timer("feature_pass", labels={"feature": "level"}):
        levels = frame_levels(recording.samples, rate // FRAMES_PER_SECOND)
    for value in levels:
        metrics.histogram("frame_level", value)

    with metrics.timer("feature_pass", labels={"feature": "zero_crossings"}):
        crossings = zero_crossing_rate(recording)

    with metrics.timer("feature_pass", labels={"feature": "spectrum"}):
        loudest = max(range(len(levels)), key=levels.__getitem__)
        start = loudest * rate // FRAMES_PER_SECOND
        moment = recording.samples[start : start + int(params.peak_window_seconds * rate)]
        peak = spectral_peak(moment, rate)

    mean_power = sum(value * value for value in levels) / len(levels)
    result = BuildFeaturesResult(
        frames=len(levels),
        loudest_level=round(levels[loudest], 4),
        mean_decibels=round(10.0 * math.log10(max(mean_power, 1e-12)), 1),
        zero_crossing_rate=round(crossings, 1),
        spectral_peak_hertz=round(peak, 1),
    )
    features = Features(**result.model_dump(), levels=[round(value, 4) for value in levels])
    (workspace / FEATURES).write_text(features.model_dump_json(), encoding="utf-8")
    return result
