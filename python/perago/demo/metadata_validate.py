"""``metadata.validate``: refuse a recording that the pipeline cannot use, before anything costs time."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from perago import MetricRecorder, MetricSpec, TaskTerminalError, WorkspaceSpec, require_file, task
from perago.demo._recording import RECORDING, WavHeader, read_header


class ValidateMetadataParams(BaseModel):
    """What is demanded of the recording."""

    min_duration_seconds: float = Field(default=1.0, gt=0)


class ValidateMetadataResult(BaseModel):
    """The facts of a recording that passed."""

    duration_seconds: float
    sample_rate: int
    sample_count: int
    channels: int


def checks(header: WavHeader, min_duration_seconds: float) -> list[tuple[bool, str]]:
    """Return whether each check passed, and what to say if it did not."""
    return [
        (header.channels == 1, f"{header.channels} channels instead of one"),
        (header.sample_bits == 16, f"{header.sample_bits}-bit samples instead of 16-bit ones"),
        (8_000 <= header.sample_rate <= 48_000, f"a sample rate of {header.sample_rate} Hz"),
        (
            header.seconds >= min_duration_seconds,
            f"{header.seconds:.2f} s is shorter than {min_duration_seconds:g} s",
        ),
    ]


@task(
    name="metadata.validate",
    owner_email="data@example.com",
    description="Checks header, format and duration of a WAV file.",
    workspace=WorkspaceSpec(pre=[require_file(RECORDING)], read_only=True),
    metrics=MetricSpec(),
)
def validate_metadata(
    workspace: Path, params: ValidateMetadataParams, metrics: MetricRecorder
) -> ValidateMetadataResult:
    """Check one recording."""
    with metrics.timer("metadata_lookup", labels={"source": "wav_header"}):
        header = read_header(workspace / RECORDING)
    checked = checks(header, params.min_duration_seconds)
    metrics.histogram("checked_items", len(checked))
    problems = [problem for passed, problem in checked if not passed]
    if problems:
        # The same file would be refused again, so a retry is of no use.
        raise TaskTerminalError(f"{RECORDING}: {'; '.join(problems)}")
    return ValidateMetadataResult(
        duration_seconds=round(header.seconds, 2),
        sample_rate=header.sample_rate,
        sample_count=header.sample_count,
        channels=header.channels,
    )
