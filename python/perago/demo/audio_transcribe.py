"""``audio.transcribe``: write down the melody of a recording that plays one detached note after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from perago import MetricRecorder, MetricSpec, WorkspaceSpec, require_file, task
from perago.demo._recording import (
    RECORDING,
    amplitude,
    frame_levels,
    frequency_of,
    hann,
    note_name,
    read_recording,
)
from perago.demo.features_build import FEATURES, Features

FRAMES_PER_SECOND = 200
SHORTEST_NOTE_SECONDS = 0.03
ATTACK_SECONDS = 0.01
LISTEN_SECONDS = 0.1
KEYS = range(48, 85)
# Keys above the ground tone at which its second and third harmonic lie, and what they count for.
HARMONICS = ((12, 1 / 2), (19, 1 / 3))


class TranscribeParams(BaseModel):
    """How to listen."""

    silence_share: float = Field(
        default=0.1, gt=0, lt=1, description="Below this share of the loudest level is silence."
    )


class Note(BaseModel):
    """One note."""

    name: str
    start_seconds: float
    seconds: float


class Transcript(BaseModel):
    """The melody, as text and as notes with their times."""

    melody: str
    notes: list[Note]


def sounding(levels: Sequence[float], threshold: float, shortest: int) -> list[tuple[int, int]]:
    """Return where at least `shortest` frames reach the threshold: first frame and the frame after."""
    loud = [False, *(value >= threshold for value in levels), False]
    edges = [index for index in range(len(levels) + 1) if loud[index] != loud[index + 1]]
    return [
        (start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= shortest
    ]


def pitch(samples: Sequence[float], sample_rate: int) -> int:
    """Return the key whose ground tone and harmonics are strongest."""
    faded = hann(samples)
    highest = KEYS[-1] + max(offset for offset, _ in HARMONICS)
    strength = {
        key: amplitude(faded, sample_rate, frequency_of(key))
        for key in range(KEYS[0], highest + 1)
        if frequency_of(key) < sample_rate / 2
    }

    def salience(key: int) -> float:
        return strength[key] + sum(weight * strength.get(key + offset, 0.0) for offset, weight in HARMONICS)

    return max((key for key in KEYS if key in strength), key=salience)


@task(
    name="audio.transcribe",
    owner_email="data@example.com",
    description="Writes down the melody of a WAV file.",
    workspace=WorkspaceSpec(pre=[require_file(RECORDING), require_file(FEATURES)], read_only=True),
    metrics=MetricSpec(),
)
def transcribe(workspace: Path, params: TranscribeParams, metrics: MetricRecorder) -> Transcript:
    """Transcribe one recording, with the features that the task before has published."""
    features = Features.model_validate_json((workspace / FEATURES).read_bytes())
    if not features.loudest_level:
        return Transcript(melody="", notes=[])
    recording = read_recording(workspace / RECORDING)
    rate = recording.sample_rate
    frame_length = rate // FRAMES_PER_SECOND
    levels = frame_levels(recording.samples, frame_length)
    shortest = int(SHORTEST_NOTE_SECONDS * FRAMES_PER_SECOND)
    chunks = sounding(levels, params.silence_share * features.loudest_level, shortest)
    metrics.histogram("audio_chunks", len(chunks), labels={"stage": "decode", "format": "wav"})

    notes = []
    for first, after in chunks:
        begin, end = first * frame_length, after * frame_length
        listen_from = begin + int(ATTACK_SECONDS * rate)
        heard = recording.samples[listen_from : min(end, listen_from + int(LISTEN_SECONDS * rate))]
        with metrics.timer("model_call", labels={"provider": "goertzel"}):
            key = pitch(heard, rate)
        notes.append(
            Note(
                name=note_name(key),
                start_seconds=round(begin / rate, 3),
                seconds=round((end - begin) / rate, 3),
            )
        )
    metrics.gauge("notes_per_second", round(len(notes) * rate / max(len(recording.samples), 1), 2))
    return Transcript(melody=" ".join(note.name for note in notes), notes=notes)
