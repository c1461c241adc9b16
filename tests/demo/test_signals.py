"""The demo's tasks by themselves: they must be right about signals that the test knows."""

from __future__ import annotations

import math
import time
import wave
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from perago import TaskFailed, TaskTerminalError, load_module_task, run_workspace_free_task_attempt
from perago.demo import audio_transcribe, features_build, metadata_validate
from perago.demo._recording import FULL_SCALE, frequency_of, key_of, level, note_name
from perago.demo.songs import SAMPLE_RATE, song, write_wav
from perago.metrics import InMemoryMetricRecorder

EVERY_SONG_KEY_AND_SOME = [*range(6), 7, 15, 22, 29, 36, 43, 50, 59]


def sine(frequency: float, seconds: float, loudness: float = 0.5) -> list[int]:
    step = 2.0 * math.pi * frequency / SAMPLE_RATE
    return [
        int(loudness * FULL_SCALE * math.sin(step * index)) for index in range(int(seconds * SAMPLE_RATE))
    ]


def wav(
    path: Path, samples: Sequence[int], channels: int = 1, width: int = 2, rate: int = SAMPLE_RATE
) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(array("h", samples).tobytes())
    return path


def validate(
    path: Path, metrics: InMemoryMetricRecorder | None = None
) -> metadata_validate.ValidateMetadataResult:
    params = metadata_validate.ValidateMetadataParams(song_id="song-1", path=path)
    return metadata_validate.validate_metadata(params, metrics or InMemoryMetricRecorder())


def build(
    path: Path, sample_count: int, metrics: InMemoryMetricRecorder
) -> features_build.BuildFeaturesResult:
    params = features_build.BuildFeaturesParams(path=path, sample_count=sample_count)
    return features_build.build_features(params, metrics)


@pytest.mark.parametrize("number", EVERY_SONG_KEY_AND_SOME)
def test_the_melody_comes_back(tmp_path: Path, number: int) -> None:
    played = song(number)
    path = tmp_path / "song.wav"
    write_wav(played, path)
    metrics = InMemoryMetricRecorder()
    began = time.process_time()
    facts = validate(path)
    features = build(path, facts.sample_count, metrics)
    params = audio_transcribe.TranscribeParams(path=path, loudest_level=features.loudest_level)
    transcript = audio_transcribe.transcribe(params, metrics)
    assert time.process_time() - began < 1.0
    assert transcript.melody == " ".join(note.name for note in played.notes)
    for heard, note in zip(transcript.notes, played.notes, strict=True):
        assert heard.start_seconds == pytest.approx(note.start_seconds, abs=0.01)
        assert heard.seconds == pytest.approx(note.seconds, abs=0.015)
    calls = [sample for sample in metrics.histograms if sample.name == "app.model_call"]
    assert len(calls) == len(played.notes)


def test_all_sixty_songs_differ() -> None:
    melodies = {tuple(note.name for note in song(number).notes) for number in range(60)}
    assert len(melodies) == 60


@pytest.mark.parametrize("key", audio_transcribe.KEYS)
def test_every_key_is_heard(key: int) -> None:
    ground = sine(frequency_of(key), 0.1, 0.3)
    octave = sine(2 * frequency_of(key), 0.1, 0.2)
    sound = [low + high for low, high in zip(ground, octave, strict=True)]
    assert audio_transcribe.pitch(sound, SAMPLE_RATE) == key
    assert key_of(note_name(key)) == key


def test_notes_are_stretches_between_silences() -> None:
    levels = [0.0, 0.9, 0.8, 0.7, 0.0, 0.9, 0.0, 0.2, 0.2, 0.2]
    assert audio_transcribe.sounding(levels, 0.2, 3) == [(1, 4), (7, 10)]
    assert audio_transcribe.sounding(levels, 0.2, 1) == [(1, 4), (5, 6), (7, 10)]
    assert audio_transcribe.sounding([], 0.2, 1) == []


def test_features_of_a_sine(tmp_path: Path) -> None:
    samples = sine(445.0, 1.0)
    metrics = InMemoryMetricRecorder()
    features = build(wav(tmp_path / "sine.wav", samples), len(samples), metrics)
    assert features.frames == 100
    assert features.loudest_level == pytest.approx(0.5 / math.sqrt(2), rel=0.05)
    assert features.mean_decibels == pytest.approx(-9.0, abs=0.1)
    assert features.zero_crossing_rate == pytest.approx(890, abs=3)
    # In steps of five cents of 445 Hz.
    assert features.spectral_peak_hertz == pytest.approx(445.0, abs=0.7)
    assert len([sample for sample in metrics.histograms if sample.name == "app.frame_level"]) == 100


def test_level_of_silence_and_of_nothing() -> None:
    assert level([0, 0, 0]) == 0.0
    assert level([]) == 0.0


def test_facts_of_a_recording(tmp_path: Path) -> None:
    metrics = InMemoryMetricRecorder()
    facts = validate(wav(tmp_path / "a.wav", [0] * 16_000, rate=8_000), metrics)
    assert facts.model_dump() == {
        "duration_seconds": 2.0,
        "sample_rate": 8_000,
        "sample_count": 16_000,
        "channels": 1,
    }
    recorded = {sample.name: sample.value for sample in metrics.histograms}
    assert recorded["app.checked_items"] == 4
    assert recorded["app.metadata_lookup"] > 0


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", [0] * 400, channels=2, width=1, rate=4_000)
    with pytest.raises(TaskTerminalError) as raised:
        validate(path)
    assert str(raised.value) == (
        "song-1: 2 channels instead of one; 8-bit samples instead of 16-bit ones; a sample rate of 4000 Hz; "
        "0.10 s is shorter than 1 s"
    )
    with pytest.raises(TaskTerminalError, match="one channel of 16-bit samples is needed"):
        build(path, 400, InMemoryMetricRecorder())


def test_unreadable_files_fail_for_good(tmp_path: Path) -> None:
    with pytest.raises(TaskTerminalError, match=r"gone\.wav: No such file or directory"):
        validate(tmp_path / "gone.wav")
    for content in (b"", b"RIFF", b"not a recording at all, only text", b"RIFF\x00\x00\x00\x00WAVE"):
        broken = tmp_path / "broken.wav"
        broken.write_bytes(content)
        with pytest.raises(TaskTerminalError, match=r"broken\.wav is not a WAV file: .+"):
            validate(broken)


def test_a_file_that_changed_after_its_validation_is_refused(tmp_path: Path) -> None:
    samples = sine(440.0, 1.0)
    path = wav(tmp_path / "a.wav", samples)
    with pytest.raises(TaskFailed, match="has changed since it was validated"):
        build(path, len(samples) - 1, InMemoryMetricRecorder())


@pytest.mark.parametrize("module", [metadata_validate, features_build, audio_transcribe])
def test_modules_declare_one_task(module: ModuleType) -> None:
    definition = load_module_task(module.__name__)
    assert definition.name == module.__name__.rpartition(".")[2].replace("_", ".")


def test_a_broken_file_as_an_attempt(tmp_path: Path) -> None:
    definition = load_module_task("perago.demo.metadata_validate")
    result = run_workspace_free_task_attempt(
        definition,
        {"params": {"song_id": "a", "path": str(tmp_path / "gone.wav")}},
        metrics=InMemoryMetricRecorder(),
        failure_reason_max_length=500,
    )
    assert result.status == "FAILED_WITH_TERMINAL_ERROR"
    assert result.reason_for_incompletion == "gone.wav: No such file or directory"
