"""Plays traditional melodies into short WAV files."""

from __future__ import annotations

import functools
import json
import math
import sys
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

from perago.demo._recording import FULL_SCALE, frequency_of, key_of, note_name

SAMPLE_RATE = 11_025
BEAT_SECONDS = 0.24
SOUNDING_SHARE = 0.85
ATTACK_SECONDS = 0.004
RELEASE_SECONDS = 0.01
DECAY_PER_SECOND = 1.5
LOUDNESS = 0.5
HARMONICS = ((1, 1.0), (2, 0.45), (3, 0.25), (4, 0.1))
TRANSPOSITIONS = (0, 2, -3, 5, -1, 3, 7, -4, 1, 4)
# Note names with their beats; no beats means one, and R is a rest.
MELODIES = {
    "Ode to Joy": "E4 E4 F4 G4 G4 F4 E4 D4 C4 C4 D4 E4 E4:1.5 D4:0.5 D4:2",
    "Frère Jacques": "C4 D4 E4 C4 C4 D4 E4 C4 E4 F4 G4:2 E4 F4 G4:2",
    "Twinkle, Twinkle": "C4 C4 G4 G4 A4 A4 G4:2 F4 F4 E4 E4 D4 D4 C4:2",
    "Greensleeves": "A4 C5:2 D5 E5:1.5 F5:0.5 E5 D5:2 B4 G4:1.5 A4:0.5 B4 C5:2",
    "Au clair de la lune": "C4 C4 C4 D4 E4:2 D4:2 C4 E4 D4 D4 C4:2",
    "Yankee Doodle": "G4 G4 A4 B4 G4 B4 A4 R G4 G4 A4 B4 G4:2 F#4:2",
}


@dataclass(frozen=True)
class PlayedNote:
    """One note of a melody: its name, and when it sounds."""

    name: str
    start_seconds: float
    seconds: float


@dataclass(frozen=True)
class Song:
    """A melody that can be played."""

    song_id: str
    title: str
    notes: tuple[PlayedNote, ...]
    seconds: float


def song(number: int) -> Song:
    """Return the song of a number from 0: the melodies in turn, in another key after each round."""
    round_number, position = divmod(number, len(MELODIES))
    title, melody = list(MELODIES.items())[position]
    shift = TRANSPOSITIONS[round_number % len(TRANSPOSITIONS)]
    notes = []
    beats_before = 0.0
    for word in melody.split():
        name, _, length = word.partition(":")
        beats = float(length or 1)
        if name != "R":
            start, seconds = beats_before * BEAT_SECONDS, beats * BEAT_SECONDS * SOUNDING_SHARE
            notes.append(PlayedNote(note_name(key_of(name) + shift), start, seconds))
        beats_before += beats
    return Song(
        song_id=f"song-{number + 1}",
        title=f"{title} ({shift:+d} semitone{'s' if abs(shift) != 1 else ''})" if shift else title,
        notes=tuple(notes),
        seconds=beats_before * BEAT_SECONDS,
    )


@functools.lru_cache(maxsize=256)
def _tone(name: str, length: int) -> array[int]:
    step = 2.0 * math.pi * frequency_of(key_of(name)) / SAMPLE_RATE
    scale = LOUDNESS * FULL_SCALE / sum(share for _, share in HARMONICS)
    samples = array("h")
    for index in range(length):
        seconds, left = index / SAMPLE_RATE, (length - index) / SAMPLE_RATE
        edges = min(seconds / ATTACK_SECONDS, left / RELEASE_SECONDS, 1.0)
        value = sum(share * math.sin(step * multiple * index) for multiple, share in HARMONICS)
        samples.append(int(scale * edges * math.exp(-DECAY_PER_SECOND * seconds) * value))
    return samples


def write_wav(played: Song, path: Path) -> None:
    """Play a song into a WAV file with one channel of 16-bit samples."""
    samples = array("h", bytes(2 * round(played.seconds * SAMPLE_RATE)))
    for note in played.notes:
        tone = _tone(note.name, int(note.seconds * SAMPLE_RATE))
        start = round(note.start_seconds * SAMPLE_RATE)
        samples[start : start + len(tone)] = tone
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())


def main() -> None:
    """Write songs into a folder and list them as JSON; the arguments are folder and number of songs."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    listed = []
    for number in range(count):
        played = song(number)
        path = folder / f"{played.song_id}.wav"
        write_wav(played, path)
        listed.append({"song_id": played.song_id, "title": played.title, "path": str(path)})
    print(json.dumps(listed))


if __name__ == "__main__":
    main()
