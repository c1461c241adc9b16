"""Configuration of a worker, read from the process environment and the ``.env`` file of a directory.

The rules live in the native module; here they become typed, immutable models.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from perago import _native

__all__ = [
    "DEFAULT_EXECUTION_MODE",
    "DEFAULT_FAILURE_REASON_MAX_LENGTH",
    "DEFAULT_LOG_FILE_MAX_SIZE",
    "DEFAULT_LOG_RETENTION",
    "DEFAULT_LOG_ROOT",
    "DEFAULT_WORKSPACE_GC_INTERVAL",
    "DEFAULT_WORKSPACE_GC_TTL",
    "DEFAULT_WORKSPACE_ROOT",
    "ConductorConfig",
    "ExecutionMode",
    "LakeFSConfig",
    "MetricsConfig",
    "RuntimeConfig",
    "check_writable_root",
    "child_environment",
    "load_runtime_config",
    "load_runtime_env",
    "parse_conductor_config",
    "parse_duration",
    "parse_execution_mode",
    "parse_failure_reason_max_length",
    "parse_lakefs_config",
    "parse_log_file_max_size",
    "parse_log_retention",
    "parse_metrics_config",
    "parse_optional_duration",
    "read_dotenv",
    "resolve_worker_id",
]

ExecutionMode = Literal["process", "thread"]
"""How bodies run: one process a slot, or the threads of one process."""

_DEFAULTS = _native.settings_defaults()

DEFAULT_WORKSPACE_ROOT: Path = Path(_DEFAULTS["workspace_root"])
DEFAULT_LOG_ROOT: Path = Path(_DEFAULTS["log_root"])
DEFAULT_LOG_FILE_MAX_SIZE: int = _DEFAULTS["log_file_max_size"]
DEFAULT_LOG_RETENTION = timedelta(seconds=_DEFAULTS["log_retention"])
DEFAULT_WORKSPACE_GC_TTL = timedelta(seconds=_DEFAULTS["workspace_gc_ttl"])
DEFAULT_WORKSPACE_GC_INTERVAL = timedelta(seconds=_DEFAULTS["workspace_gc_interval"])
DEFAULT_FAILURE_REASON_MAX_LENGTH: int = _DEFAULTS["failure_reason_max_length"]
DEFAULT_EXECUTION_MODE: ExecutionMode = "process"


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConductorConfig(_Config):
    """The Conductor server."""

    server_url: str


class LakeFSConfig(_Config):
    """The lakeFS server; the secret is masked wherever the model is shown."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: SecretStr


class MetricsConfig(_Config):
    """Where metrics are pushed and how they are marked; header values are masked as secrets are."""

    endpoint: str
    instance_id: str | None = None
    compression: Literal["gzip"] | None = None
    timeout_millis: int | None = None
    export_interval_millis: int | None = None
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)
    service_name: str | None = None
    resource_attributes: Mapping[str, str] = Field(default_factory=dict)


class RuntimeConfig(_Config):
    """All settings of a worker that Python code can rely on."""

    workspace_root: Path
    log_root: Path
    log_file_max_size: int
    log_retention: timedelta
    worker_id_prefix: str
    execution_mode: ExecutionMode = DEFAULT_EXECUTION_MODE
    workspace_gc_ttl: timedelta = DEFAULT_WORKSPACE_GC_TTL
    workspace_gc_interval: timedelta = DEFAULT_WORKSPACE_GC_INTERVAL
    shutdown_force_kill_after: timedelta | None = None
    failure_reason_max_length: int = DEFAULT_FAILURE_REASON_MAX_LENGTH
    conductor: ConductorConfig | None = None
    lakefs: LakeFSConfig | None = None
    metrics: MetricsConfig | None = None


_ConfigT = TypeVar("_ConfigT", bound=_Config)


def load_runtime_config(
    module_target: str,
    *,
    cwd: Path | None = None,
    process_env: Mapping[str, str] | None = None,
    probe_roots: bool = True,
) -> RuntimeConfig:
    """Load the configuration for a module.

    Args:
        module_target: Import path of the task module; the default of the worker id prefix comes from it.
        cwd: Directory whose ``.env`` is read; the current one by default.
        process_env: Variables that win over ``.env``; the process environment by default, ``{}`` for none.
        probe_roots: Whether to make the workspace and log roots and prove that they can be written.

    Raises:
        RuntimeConfigError: The first setting that cannot be used.

    """
    directory = Path.cwd() if cwd is None else Path(cwd)
    values = _native.load_settings(module_target, directory, _variables(process_env), probe_roots)
    for name in ("log_retention", "workspace_gc_ttl", "workspace_gc_interval", "shutdown_force_kill_after"):
        if values[name] is not None:
            values[name] = timedelta(seconds=values[name])
    return RuntimeConfig.model_validate(values)


def load_runtime_env(process_env: Mapping[str, str], dotenv_env: Mapping[str, str]) -> dict[str, str]:
    """Merge variables: those of the process win over those of ``.env``."""
    return {**dotenv_env, **process_env}


def read_dotenv(path: Path) -> dict[str, str]:
    """Read a ``.env`` file; a missing one is empty.

    Raises:
        RuntimeConfigError: It is a directory, unreadable or not UTF-8.

    """
    return _native.read_dotenv(Path(path))


def check_writable_root(path: Path) -> None:
    """Make a directory and prove that files can be written in it.

    Raises:
        RuntimeConfigError: It is not writable.

    """
    _native.check_writable_root(Path(path))


def parse_log_file_max_size(value: str | None) -> int:
    """Size in bytes at which a log file is rotated; ``None`` is the default.

    Raises:
        RuntimeConfigError: The value is no size such as ``100MB``.

    """
    if value is None:
        return DEFAULT_LOG_FILE_MAX_SIZE
    return _native.parse_size_bytes("PERAGO_LOG_FILE_MAX_SIZE", value)


def parse_log_retention(value: str | None) -> timedelta:
    """Age at which log files are deleted; ``None`` is the default.

    Raises:
        RuntimeConfigError: The value is no number of days such as ``30d``.

    """
    if value is None:
        return DEFAULT_LOG_RETENTION
    return timedelta(seconds=_native.parse_days_seconds("PERAGO_LOG_RETENTION", value))


def parse_execution_mode(value: str | None) -> ExecutionMode:
    """How bodies run; ``None`` is the default.

    Raises:
        RuntimeConfigError: The value is neither ``process`` nor ``thread``.

    """
    if value is None:
        return DEFAULT_EXECUTION_MODE
    return _native.parse_execution_mode(value)


def parse_duration(value: str | None, *, default: timedelta, name: str) -> timedelta:
    """Duration such as ``24h`` of the variable ``name``; ``None`` is the default.

    Raises:
        RuntimeConfigError: The value has another form.

    """
    if value is None:
        return default
    return timedelta(seconds=_native.parse_duration_seconds(name, value))


def parse_optional_duration(value: str | None, *, name: str) -> timedelta | None:
    """Duration of the variable ``name``; ``None`` when it is unset or blank.

    Raises:
        RuntimeConfigError: The value has another form.

    """
    if value is None or not value.strip():
        return None
    return timedelta(seconds=_native.parse_duration_seconds(name, value))


def parse_failure_reason_max_length(value: str | None) -> int:
    """Longest failure reason in characters; ``None`` is the default.

    Raises:
        RuntimeConfigError: The value is no positive integer.

    """
    if value is None:
        return DEFAULT_FAILURE_REASON_MAX_LENGTH
    return _native.parse_positive_integer("PERAGO_FAILURE_REASON_MAX_LENGTH", value)


def parse_conductor_config(env: Mapping[str, str]) -> ConductorConfig | None:
    """Read the Conductor server that the variables name, if any.

    Raises:
        RuntimeConfigError: A variable cannot be used.

    """
    return _optional(ConductorConfig, _native.parse_conductor(dict(env)))


def parse_lakefs_config(env: Mapping[str, str]) -> LakeFSConfig | None:
    """Read the lakeFS server that the variables name, if any.

    Raises:
        RuntimeConfigError: Some but not all variables are set, or one still holds its placeholder.

    """
    return _optional(LakeFSConfig, _native.parse_lakefs(dict(env)))


def parse_metrics_config(env: Mapping[str, str]) -> MetricsConfig | None:
    """Read the metrics receiver that the variables name, if any.

    Raises:
        RuntimeConfigError: A variable cannot be used.

    """
    return _optional(MetricsConfig, _native.parse_metrics(dict(env)))


def child_environment(base_env: Mapping[str, str], module_target: str, index: int) -> dict[str, str]:
    """Variables of the child process of slot ``index``: ``base_env`` with the slot's worker id.

    Raises:
        RuntimeConfigError: The worker id prefix cannot be used.

    """
    return _native.child_environment(dict(base_env), module_target, index)


def resolve_worker_id(module_target: str, env: Mapping[str, str]) -> str:
    """Name this worker process: ``PERAGO_WORKER_ID``, else a name of the module target and the process id."""
    return _native.resolve_worker_id(module_target, dict(env))


def _variables(process_env: Mapping[str, str] | None) -> dict[str, str]:
    # What is not UTF-8 comes from os.environ as lone surrogates, which cannot cross into Rust.
    given = os.environ if process_env is None else process_env
    return {_printable(name): _printable(value) for name, value in given.items()}


def _printable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _optional(model: type[_ConfigT], values: dict[str, Any] | None) -> _ConfigT | None:
    return None if values is None else model.model_validate(values)
