"""The native module; use it through the façade, never directly."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypedDict, TypeVar

from perago.metrics import MetricRecorder

_Function = TypeVar("_Function", bound=Callable[..., Any])

__version__: str

# Settings (perago.config)

class _SettingsDefaults(TypedDict):
    workspace_root: Path
    log_root: Path
    log_file_max_size: int
    log_retention: int
    workspace_gc_ttl: int
    workspace_gc_interval: int
    failure_reason_max_length: int

def settings_defaults() -> _SettingsDefaults: ...
def load_settings(
    module_target: str, cwd: Path, process_env: dict[str, str], probe_roots: bool
) -> dict[str, Any]: ...
def read_dotenv(path: Path) -> dict[str, str]: ...
def check_writable_root(path: Path) -> None: ...
def parse_duration_seconds(name: str, value: str) -> int: ...
def parse_days_seconds(name: str, value: str) -> int: ...
def parse_size_bytes(name: str, value: str) -> int: ...
def parse_positive_integer(name: str, value: str) -> int: ...
def parse_execution_mode(value: str) -> Literal["process", "thread"]: ...
def parse_conductor(env: dict[str, str]) -> dict[str, Any] | None: ...
def parse_lakefs(env: dict[str, str]) -> dict[str, Any] | None: ...
def parse_metrics(env: dict[str, str]) -> dict[str, Any] | None: ...
def child_environment(base_env: dict[str, str], module_target: str, index: int) -> dict[str, str]: ...
def resolve_worker_id(module_target: str, env: dict[str, str]) -> str: ...

# Contract (perago.models, perago.guards, perago.task, perago.taskdef)

def workspace_prefix(prefix: str, /) -> str:
    """Normalise a workspace prefix.

    Raises:
        TaskDefinitionError: The prefix could leave the repository.
    """

def check_guardrail_path(path: str, /) -> None:
    """Check the path or pattern of a guardrail.

    Raises:
        TaskDefinitionError: The path could leave the workspace or names a drive.
    """

def check_task_name(name: str, /) -> None:
    """Check the name of a task.

    Raises:
        TaskDefinitionError: The name is blank or holds a path separator.
    """

def check_owner_email(owner_email: str, /) -> None:
    """Check the owner of a task.

    Raises:
        TaskDefinitionError: Nobody is named.
    """

def transform_schema(schema: bytes, /, *, allow_extra: bool) -> bytes:
    """Transform the JSON Schema of a model for a TaskDef.

    Raises:
        TaskDefinitionError: The schema refers to definitions that it lacks, or is too large.
        ValueError: The bytes are not JSON.
    """

def task_definition(description: bytes, /) -> tuple[str, bytes]:
    """Return the TaskDef of a description as text, and the findings on it as JSON.

    Raises:
        TaskDefinitionError: The first finding that is an error.
        ValueError: The bytes are not a description.
    """

def pretty_ascii_json(document: bytes, /) -> str:
    """Return a JSON document as ``json.dumps(value, indent=2)`` writes it, with a final newline.

    Raises:
        ValueError: The bytes are not JSON.
    """

def staging_branch_name(
    workflow_instance_id: str,
    reference_task_name: str,
    seq: str,
    iteration: str,
    task_id: str,
    retry_count: str,
    execution_id: str,
) -> str:
    """Return the name of the branch on which an attempt stages its files."""

def failure_catalogue() -> list[tuple[str, bool, str]]:
    """Return every failure code with whether it is terminal and what to do about it."""

def cut_reason(reason: str, most_characters: int, /) -> tuple[str, int | None]:
    """Return a reason cut to a number of characters, and its original length if it was cut."""

# Recorder (perago.metrics)

class Recorder(MetricRecorder):
    """The recorder of a worker's task body; a virtual subclass of `MetricRecorder`. Made by `open_recorder`."""

    def histogram(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Add a value to the histogram ``app.<name>``."""

    def gauge(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Set the gauge ``app.<name>``."""

    def timer(self, name: str, *, labels: Mapping[str, str] | None = None) -> Timer:
        """Return a context manager and decorator that adds seconds to the histogram ``app.<name>``."""

class Timer:
    """Measures a block or a function. Made by `Recorder.timer`."""

    def __enter__(self) -> None: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None = None,
        exception: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self,
        exception_type: type[BaseException] | None = None,
        exception: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def __call__(self, function: _Function, /) -> _Function: ...
    def _again(self) -> Timer:
        """Return another timer into the same histogram."""

def open_recorder(
    arena_path: str | Path,
    task_name: str,
    *,
    reserved_labels: Sequence[str] = (),
    buckets: dict[str, list[float]] | None = None,
    label_sets: int = 1000,
    warning: Callable[[dict[str, str]], object] | None = None,
) -> Recorder:
    """Open the arena that the supervisor made, for the samples of one task.

    Args:
        arena_path: The arena's file.
        task_name: The value of the label ``task_name``.
        reserved_labels: Keys of resource attributes, which no label may have.
        buckets: Bucket bounds by metric name, in place of the ladder that the name chooses.
        label_sets: How many label sets have a series of their own.
        warning: Called with ``metric_name``, ``label_key``, ``perago_label_value``, ``ignored_user_label_value``
            and ``reason``, at most once a minute for each metric and reason.

    Raises:
        OSError: The file is missing, damaged or not an arena; the text ends with a stable code.
        ValueError: Bounds are not ascending.
    """

class MetricRules:
    """The rules of a recorder without an arena."""

    def __init__(
        self,
        task_name: str,
        *,
        reserved_labels: Sequence[str] = (),
        warning: Callable[[dict[str, str]], object] | None = None,
    ) -> None: ...
    def check(
        self,
        kind: str,
        name: str,
        value: float,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[str, float, dict[str, str]] | None:
        """Return name, value and labels as exported, or ``None`` if the sample is dropped."""

    @staticmethod
    def check_shape(name: str, labels: Mapping[str, str] | None = None) -> None:
        """Raise the ``TypeError`` of a timer whose name or labels have the wrong type."""

class ArenaStore:
    """The arenas in one directory, for tests and benchmarks of the recorder."""

    def __init__(self, directory: str | Path) -> None: ...
    def begin(self, slot: str) -> Path:
        """Return the path of a slot's arena, made if it is missing, for a new writer."""

    def series(self) -> list[dict[str, Any]]:
        """Return all series, merged."""

    def dropped(self) -> dict[str, int]:
        """Return how many samples or labels were dropped or changed, by reason."""
