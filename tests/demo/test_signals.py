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

from perago import TaskTerminalError, check_guardrails, invoke_workspace_task_body, load_module_task
from perago.demo import audio_transcribe, features_build, metadata_validate
from perago.demo._recording import FULL_SCALE, RECORDING, frequency_of, key_of, level, note_name
from perago.demo.songs import SAMPLE_RATE, song, write_wav
from perago.errors import PreGuardrailViolation
from perago.metrics import InMemoryMetricRecorder

EVERY_SONG_KEY_AND_SOME = [*range(6), 7, 15, 22, 29, 36, 43, 50, 59]


def sine(frequency: float, seconds: float, loudness: float = 0.5) -> list[int]:
    step = 2.0 * math.pi * frequency / SAMPLE_RATE
    return [
        int(loudness * FULL_SCALE * math.sin(step * index)) for index in range(int(seconds * SAMPLE_RATE))
    ]


def wav(
    folder: Path, samples: Sequence[int], channels: int = 1, width: int = 2, rate: int = SAMPLE_RATE
) -> Path:
    """A workspace with a recording."""
    with wave.open(str(folder / RECORDING), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(array("h", samples).tobytes())
    return folder


def validate(
    workspace: Path, metrics: InMemoryMetricRecorder | None = None
) -> metadata_validate.ValidateMetadataResult:
    params = metadata_validate.ValidateMetadataParams()
    return metadata_validate.validate_metadata(workspace, params, metrics or InMemoryMetricRecorder())


def build(workspace: Path, metrics: InMemoryMetricRecorder) -> features_build.BuildFeaturesResult:
    return features_build.build_features(workspace, features_build.BuildFeaturesParams(), metrics)


def transcribe(workspace: Path, metrics: InMemoryMetricRecorder) -> audio_transcribe.Transcript:
    return audio_transcribe.transcribe(workspace, audio_transcribe.TranscribeParams(), metrics)


@pytest.mark.parametrize("number", EVERY_SONG_KEY_AND_SOME)
def test_the_melody_comes_back(tmp_path: Path, number: int) -> None:
    played = song(number)
    write_wav(played, tmp_path / RECORDING)
    metrics = InMemoryMetricRecorder()
    began = time.process_time()
    facts = validate(tmp_path)
    build(tmp_path, metrics)
    transcript = transcribe(tmp_path, metrics)
    assert time.process_time() - began < 5.0
    assert facts.duration_seconds == pytest.approx(played.seconds, abs=0.01)
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
    features = build(wav(tmp_path, samples), metrics)
    assert features.frames == 100
    assert features.loudest_level == pytest.approx(0.5 / math.sqrt(2), rel=0.05)
    assert features.mean_decibels == pytest.approx(-9.0, abs=0.1)
    assert features.zero_crossing_rate == pytest.approx(890, abs=3)
    # In steps of five cents of 445 Hz.
    assert features.spectral_peak_hertz == pytest.approx(445.0, abs=0.7)
    assert len([sample for sample in metrics.histograms if sample.name == "app.frame_level"]) == 100


def test_the_next_task_finds_the_features_in_its_workspace(tmp_path: Path) -> None:
    result = build(wav(tmp_path, sine(445.0, 1.0)), InMemoryMetricRecorder())
    text = (tmp_path / features_build.FEATURES).read_text(encoding="utf-8")
    found = features_build.Features.model_validate_json(text)
    assert found.model_dump(exclude={"levels"}) == result.model_dump()
    assert len(found.levels) == result.frames
    assert max(found.levels) == found.loudest_level
    assert sorted(path.name for path in tmp_path.iterdir()) == [features_build.FEATURES, RECORDING]


def test_what_is_silent_has_no_melody(tmp_path: Path) -> None:
    build(wav(tmp_path, [0] * SAMPLE_RATE), InMemoryMetricRecorder())
    assert transcribe(tmp_path, InMemoryMetricRecorder()).notes == []


def test_level_of_silence_and_of_nothing() -> None:
    assert level([0, 0, 0]) == 0.0
    assert level([]) == 0.0


def test_facts_of_a_recording(tmp_path: Path) -> None:
    metrics = InMemoryMetricRecorder()
    facts = validate(wav(tmp_path, [0] * 16_000, rate=8_000), metrics)
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
    workspace = wav(tmp_path, [0] * 400, channels=2, width=1, rate=4_000)
    with pytest.raises(TaskTerminalError) as raised:
        validate(workspace)
    assert str(raised.value) == (
        "recording.wav: 2 channels instead of one; 8-bit samples instead of 16-bit ones; "
        "a sample rate of 4000 Hz; 0.10 s is shorter than 1 s"
    )
    with pytest.raises(TaskTerminalError, match="one channel of 16-bit samples is needed"):
        build(workspace, InMemoryMetricRecorder())


def test_unreadable_files_fail_for_good(tmp_path: Path) -> None:
    with pytest.raises(TaskTerminalError, match=r"recording\.wav: No such file or directory"):
        validate(tmp_path)
    for content in (b"", b"RIFF", b"not a recording at all, only text", b"RIFF\x00\x00\x00\x00WAVE"):
        (tmp_path / RECORDING).write_bytes(content)
        with pytest.raises(TaskTerminalError, match=r"recording\.wav is not a WAV file: .+"):
            validate(tmp_path)


@pytest.mark.parametrize("module", [metadata_validate, features_build, audio_transcribe])
def test_modules_declare_one_task(module: ModuleType) -> None:
    definition = load_module_task(module.__name__)
    assert definition.name == module.__name__.rpartition(".")[2].replace("_", ".")


@pytest.mark.parametrize("module", [metadata_validate, features_build, audio_transcribe])
def test_a_workspace_without_recording_is_refused(tmp_path: Path, module: ModuleType) -> None:
    workspace = load_module_task(module.__name__).workspace
    assert workspace is not None
    with pytest.raises(PreGuardrailViolation, match=r"recording\.wav"):
        check_guardrails(tmp_path, workspace.pre, "pre")


def test_the_pipeline_as_workers_call_it(tmp_path: Path) -> None:
    played = song(0)
    write_wav(played, tmp_path / RECORDING)
    pinned = {"repository": "songs", "branch": "song-1", "refType": "commit", "ref": "a"}
    envelope = {"workspace": pinned, "params": {}}
    results = [
        invoke_workspace_task_body(
            load_module_task(module.__name__), envelope, tmp_path, metrics=InMemoryMetricRecorder()
        )["result"]
        for module in (metadata_validate, features_build, audio_transcribe)
    ]
    assert results[2]["melody"] == " ".join(note.name for note in played.notes)
