"""``features.build``: measure how loud, how bright and how high a recording is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, Field

from perago import MetricRecorder, MetricSpec, TaskFailed, task
from perago.demo._recording import Recording, amplitude, frame_levels, frequency_of, hann, read_recording

FRAMES_PER_SECOND = 100
PEAK_WINDOW_SECONDS = 0.1
PEAK_KEYS = range(36, 97)
CENTS_PER_KEY = 100
PEAK_STEP_CENTS = 5


class BuildFeaturesParams(BaseModel):
    """One recording that passed validation."""

    path: Path = Field(description="The WAV file.")
    sample_count: int = Field(ge=1, description="Samples that the file had when it was validated.")


class BuildFeaturesResult(BaseModel):
    """The features of one recording."""

    frames: int = Field(description="Frames of 10 ms.")
    loudest_level: float = Field(description="Level of the loudest frame, 0 to 1.")
    mean_decibels: float = Field(description="Mean level below full scale.")
    zero_crossing_rate: float = Field(description="Changes of sign per second.")
    spectral_peak_hertz: float = Field(description="Strongest frequency of the loudest moment.")


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
    metrics=MetricSpec(),
)
def build_features(params: BuildFeaturesParams, metrics: MetricRecorder) -> BuildFeaturesResult:
    """Measure one recording."""
    recording = read_recording(params.path)
    metrics.histogram("input_files", 1)
    if len(recording.samples) != params.sample_count:
        raise TaskFailed(f"{params.path.name} has changed since it was validated")

    with metrics.timer("feature_pass", labels={"feature": "level"}):
        levels = frame_levels(recording.samples, recording.sample_rate // FRAMES_PER_SECOND)
    for value in levels:
        metrics.histogram("frame_level", value)

    with metrics.timer("feature_pass", labels={"feature": "zero_crossings"}):
        crossings = zero_crossing_rate(recording)

    with metrics.timer("feature_pass", labels={"feature": "spectrum"}):
        loudest = max(range(len(levels)), key=levels.__getitem__)
        start = loudest * recording.sample_rate // FRAMES_PER_SECOND
        moment = recording.samples[start : start + int(PEAK_WINDOW_SECONDS * recording.sample_rate)]
        peak = spectral_peak(moment, recording.sample_rate)

    mean_power = sum(value * value for value in levels) / len(levels)
    return BuildFeaturesResult(
        frames=len(levels),
        loudest_level=round(levels[loudest], 4),
        mean_decibels=round(10.0 * math.log10(max(mean_power, 1e-12)), 1),
        zero_crossing_rate=round(crossings, 1),
        spectral_peak_hertz=round(peak, 1),
    )
