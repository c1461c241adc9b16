"""Durations, sizes, counts and names as operators write them."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago import config
from perago.errors import RuntimeConfigError


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("100MB", 104857600), ("1kb", 1024), ("1.5 GB", 1610612736), ("0.0001KB", 1), (None, 104857600)],
)
def test_sizes(text: str | None, bytes_: int) -> None:
    assert config.parse_log_file_max_size(text) == bytes_


@pytest.mark.parametrize("text", ["", "100", "01MB", "-1MB", "1TB", "1.MB"])
def test_bad_sizes_name_the_variable(text: str) -> None:
    with pytest.raises(RuntimeConfigError, match="PERAGO_LOG_FILE_MAX_SIZE"):
        config.parse_log_file_max_size(text)


def test_a_size_of_nothing() -> None:
    with pytest.raises(RuntimeConfigError, match="PERAGO_LOG_FILE_MAX_SIZE must be greater than zero"):
        config.parse_log_file_max_size("0.0MB")


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("1D", 1), (None, 30)])
def test_retention(text: str | None, days: int) -> None:
    assert config.parse_log_retention(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "30", "0d", "30 d", "30h", "-1d"])
def test_bad_retention_names_the_variable(text: str) -> None:
    with pytest.raises(RuntimeConfigError, match="PERAGO_LOG_RETENTION"):
        config.parse_log_retention(text)


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("2M", 120), ("24h", 86400), ("7d", 604800)])
def test_durations(text: str, seconds: int) -> None:
    assert config.parse_duration(text, default=timedelta(1), name="X") == timedelta(seconds=seconds)
    assert config.parse_optional_duration(text, name="X") == timedelta(seconds=seconds)


def test_absent_durations() -> None:
    assert config.parse_duration(None, default=timedelta(hours=3), name="X") == timedelta(hours=3)
    assert config.parse_optional_duration(None, name="X") is None
    assert config.parse_optional_duration("  ", name="X") is None


@pytest.mark.parametrize("text", ["", "0s", "1 s", "1.5h", "1", "1w", "99999999999999999999d"])
def test_bad_durations_name_the_variable(text: str) -> None:
    with pytest.raises(RuntimeConfigError, match="PERAGO_WORKSPACE_GC_TTL"):
        config.parse_duration(text, default=timedelta(1), name="PERAGO_WORKSPACE_GC_TTL")


@given(st.integers(1, 10**6), st.sampled_from("smhdSMHD"))
def test_durations_are_exact(count: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit.lower()]
    read = config.parse_duration(f"{count}{unit}", default=timedelta(1), name="X")
    assert read == timedelta(seconds=count * seconds)


def test_failure_reason_length() -> None:
    assert config.parse_failure_reason_max_length(None) == 500
    assert config.parse_failure_reason_max_length("12") == 12
    with pytest.raises(
        RuntimeConfigError, match="PERAGO_FAILURE_REASON_MAX_LENGTH must be a positive integer"
    ):
        config.parse_failure_reason_max_length("1.5")
    with pytest.raises(RuntimeConfigError, match="greater than zero"):
        config.parse_failure_reason_max_length("0")


def test_execution_mode() -> None:
    assert config.parse_execution_mode(None) == "process"
    assert config.parse_execution_mode(" Thread ") == "thread"
    with pytest.raises(RuntimeConfigError, match="PERAGO_EXECUTION_MODE"):
        config.parse_execution_mode("fork")


def test_worker_ids() -> None:
    assert config.resolve_worker_id("app.mix", {"PERAGO_WORKER_ID": "w1"}) == "w1"
    assert config.resolve_worker_id("app.mix_1", {}) == f"appmix1-pid-{os.getpid()}"
    assert config.child_environment({"A": "1"}, "app.mix", 2) == {"A": "1", "PERAGO_WORKER_ID": "appmix0002"}
    child = config.child_environment({"PERAGO_WORKER_ID_PREFIX": "p"}, "app.mix", 12)
    assert child["PERAGO_WORKER_ID"] == "p0012"


def test_writable_roots(tmp_path: Path) -> None:
    config.check_writable_root(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeConfigError, match="file is not writable: "):
        config.check_writable_root(tmp_path / "file")
