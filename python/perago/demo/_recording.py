"""Reading a WAV file, and the little signal arithmetic that the tasks share."""

from __future__ import annotations

import math
import sys
import wave
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from pathlib import Path

from perago import TaskTerminalError

RECORDING = "recording.wav"
"""Name of the recording in a workspace."""

FULL_SCALE = 32_768.0
"""The magnitude of the loudest 16-bit sample."""

CONCERT_PITCH_HERTZ = 440.0
CONCERT_PITCH_KEY = 69
KEYS_PER_OCTAVE = 12
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class WavHeader:
    """What the header of a WAV file says."""

    channels: int
    sample_bits: int
    sample_rate: int
    sample_count: int

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.sample_count / self.sample_rate


@dataclass(frozen=True)
class Recording:
    """One channel of 16-bit samples."""

    sample_rate: int
    samples: Sequence[int]


def read_header(path: Path) -> WavHeader:
    """Read the header of a WAV file.

    Raises:
        TaskTerminalError: The file cannot be read or is no WAV file; another attempt would find the same.

    """
    with _opened(path) as file:
        return _header(file)


def read_recording(path: Path) -> Recording:
    """Read all samples of a WAV file with one channel of 16-bit samples.

    Raises:
        TaskTerminalError: The file cannot be read or has another form.

    """
    with _opened(path) as file:
        header = _header(file)
        if (header.channels, header.sample_bits) != (1, 16):
            found = f"{header.channels} channels of {header.sample_bits}-bit samples"
            raise TaskTerminalError(f"{path.name}: one channel of 16-bit samples is needed, not {found}")
        samples = array("h", file.readframes(header.sample_count))
    if sys.byteorder == "big":
        samples.byteswap()
    return Recording(header.sample_rate, samples)


def _opened(path: Path) -> wave.Wave_read:
    try:
        return wave.open(str(path), "rb")
    except OSError as error:
        raise TaskTerminalError(f"{path.name}: {error.strerror or error}") from error
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends too early"
        raise TaskTerminalError(f"{path.name} is not a WAV file: {reason}") from error


def _header(file: wave.Wave_read) -> WavHeader:
    return WavHeader(
        channels=file.getnchannels(),
        sample_bits=8 * file.getsampwidth(),
        sample_rate=file.getframerate(),
        sample_count=file.getnframes(),
    )


def level(samples: Sequence[float]) -> float:
    """Return the root mean square of some 16-bit samples, 0 to 1."""
    if not samples:
        return 0.0
    return math.sqrt(sum(map(mul, samples, samples)) / len(samples)) / FULL_SCALE


def frame_levels(samples: Sequence[int], frame_length: int) -> list[float]:
    """Return the level of each whole frame."""
    last = len(samples) - frame_length
    return [level(samples[start : start + frame_length]) for start in range(0, last + 1, frame_length)]


def hann(samples: Sequence[float]) -> list[float]:
    """Fade samples in and out, so that the cut does not look like sound."""
    step = 2.0 * math.pi / max(len(samples), 1)
    return [sample * (0.5 - 0.5 * math.cos(step * index)) for index, sample in enumerate(samples)]


def amplitude(samples: Sequence[float], sample_rate: int, frequency: float) -> float:
    """Return how much of one frequency (hertz) samples hold, by Goertzel's recurrence."""
    coefficient = 2.0 * math.cos(2.0 * math.pi * frequency / sample_rate)
    latest = before = 0.0
    for sample in samples:
        latest, before = sample + coefficient * latest - before, latest
    power = latest * latest + before * before - coefficient * latest * before
    return math.sqrt(max(power, 0.0)) / max(len(samples), 1)


def frequency_of(key: float) -> float:
    """Return the frequency in hertz of a key of the keyboard, where 69 is A4 and an octave has 12."""
    return CONCERT_PITCH_HERTZ * math.pow(2.0, (key - CONCERT_PITCH_KEY) / KEYS_PER_OCTAVE)


def note_name(key: int) -> str:
    """Return the name of a key, such as ``C4`` or ``F#5``."""
    return f"{_NAMES[key % KEYS_PER_OCTAVE]}{key // KEYS_PER_OCTAVE - 1}"


def key_of(name: str) -> int:
    """Return the key that a name such as ``C4`` or ``F#5`` means."""
    return _NAMES.index(name[:-1]) + KEYS_PER_OCTAVE * (int(name[-1]) + 1)
