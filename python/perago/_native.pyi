"""The native module; use it through the façade, never directly."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TypedDict, TypeVar, final

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

def guardrail_violation(
    root: Path, kind: str, path: str, min_count: int | None, max_count: int | None, /
) -> str | None:
    """Say why a guardrail does not hold for a directory; ``None`` when it does."""

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

def kill_points() -> list[str]:
    """Return the names of the points at which a worker can kill itself, in the order of an attempt."""

def failure_catalogue() -> list[tuple[str, bool, str]]:
    """Return every failure code with whether it is terminal and what to do about it."""

def cut_reason(reason: str, most_characters: int, /) -> tuple[str, int | None]:
    """Return a reason cut to a number of characters, and its original length if it was cut."""

# Recorder (perago.metrics)

@final
class Recorder(MetricRecorder):
    """The recorder of a task body, a virtual subclass of `MetricRecorder`. Made by `open_recorder`."""

    def histogram(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Add a value to the histogram ``app.<name>``."""

    def gauge(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Set the gauge ``app.<name>``."""

    def timer(self, name: str, *, labels: Mapping[str, str] | None = None) -> Timer:
        """Return a context manager and decorator that adds seconds to the histogram ``app.<name>``."""

@final
class DisabledRecorder(MetricRecorder):
    """The recorder of a worker that exports no metrics, a virtual subclass of `MetricRecorder`.

    Keeps nothing; a call of the wrong shape raises as with any recorder.
    """

    def histogram(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Drop a value."""

    def gauge(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Drop a value."""

    def timer(self, name: str, *, labels: Mapping[str, str] | None = None) -> Timer:
        """Return a context manager and decorator that records nothing."""

@final
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

@final
class Done:
    """What entering and leaving a timer in asynchronous code awaits: it is done already."""

    def __await__(self) -> Done: ...
    def __iter__(self) -> Done: ...
    def __next__(self) -> None: ...

def open_recorder(
    arena_path: str | Path,
    task_name: str,
    *,
    reserved_labels: Sequence[str] = ...,
    buckets: dict[str, list[float]] | None = None,
    label_sets: int = ...,
    warning: Callable[[dict[str, str]], object] | None = None,
) -> Recorder:
    """Open the arena that the supervisor made, for the samples of one task.

    Args:
        arena_path: The arena's file.
        task_name: The value of the label ``task_name``.
        reserved_labels: Keys of resource attributes, which no label may have.
        buckets: Bucket bounds by metric name, in place of the ladder that the name chooses.
        label_sets: How many label sets have a series of their own.
        warning: Called with ``metric_name``, ``label_key``, ``perago_label_value``,
            ``ignored_user_label_value`` and ``reason``, at most once a minute for each metric and reason.

    Raises:
        OSError: The file is missing, damaged or not an arena; the text ends with a stable code.
        ValueError: Bounds are not ascending.

    """

@final
class MetricRules:
    """The rules of a recorder without an arena."""

    def __new__(
        cls,
        task_name: str,
        *,
        reserved_labels: Sequence[str] = ...,
        label_sets: int = ...,
        warning: Callable[[dict[str, str]], object] | None = None,
    ) -> MetricRules: ...
    def check(
        self,
        kind: str,
        name: str,
        value: float,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[str, float, dict[str, str]] | None:
        """Return name, value and labels as exported, or ``None`` if the sample is dropped."""

    def dropped(self) -> dict[str, int]:
        """Return how many samples or labels were dropped or changed, by reason."""

    @staticmethod
    def check_shape(name: str, labels: Mapping[str, str] | None = None) -> None:
        """Raise the ``TypeError`` of a timer whose name or labels have the wrong type."""

@final
class ArenaStore:
    """The arenas in one directory, for tests and benchmarks of the recorder."""

    def __new__(cls, directory: str | Path) -> ArenaStore: ...
    def begin(self, slot: str) -> Path:
        """Return the path of a slot's arena, made if it is missing, for a new writer."""

    def series(self) -> list[dict[str, Any]]:
        """Return all series, merged."""

    def dropped(self) -> dict[str, int]:
        """Return how many samples or labels were dropped or changed, by reason."""

# The command line and the executor (perago.__main__, perago._executor)

def run_command_line(arguments: Sequence[str], interpreter: str) -> int:
    """Run one command line.

    Args:
        arguments: The program's name and its arguments.
        interpreter: Path of the interpreter that executors use.

    Returns:
        The exit code.

    """

@final
class Channel:
    """The executor's end of its channel to the supervisor, opened from the environment.

    Raises:
        OSError: This process was not started as an executor, or the supervisor is gone.

    """

    def __new__(cls) -> Channel: ...
    @property
    def module_target(self) -> str:
        """The author's module."""

    @property
    def describe_only(self) -> bool:
        """Whether to describe the module and exit."""

    @property
    def threads(self) -> int:
        """Bodies that run at once in this process."""

    @property
    def arena(self) -> str | None:
        """The arena file that samples go to, if metrics are exported."""

    @property
    def resource_attribute_keys(self) -> list[str]:
        """Label keys that the exporter's resource attributes occupy."""

    @property
    def failure_reason_max_length(self) -> int:
        """Failure reasons are cut to this many characters."""

    def ready(self, description: str) -> None:
        """Say that the module is imported; ``description`` is JSON."""

    def unready(self, description: str) -> None:
        """Say that the module cannot be used; ``description`` is JSON."""

    CANCEL_SIGNAL: Final[int]
    """The signal that says that `cancelled` has news."""

    def cancelled(self) -> int | None:
        """Return the last attempt whose body is to be stopped, if that is news; does not wait."""

    def receive(self) -> AttemptAssignment | None:
        """Wait for the next attempt; ``None`` when the supervisor wants no more or is gone."""

    def completed(self, attempt: int, result: bytes, body_seconds: float) -> None:
        """Report what the body returned, as JSON."""

    def failed(
        self,
        attempt: int,
        terminal: bool,
        code: str,
        reason: str,
        body_seconds: float,
        exception: str | None,
    ) -> None:
        """Report that an attempt failed; ``exception`` is for the worker's log alone."""

    def log(
        self,
        attempt: int | None,
        level: str,
        source: str,
        message: str,
        time: float,
        exception: str | None = None,
        fields: str | None = None,
    ) -> None:
        """Send one line of the log; ``time`` in seconds since the epoch, ``fields`` a JSON object."""

@final
class AttemptAssignment:
    """One attempt that the executor must run. Made by `Channel.receive`."""

    @property
    def attempt(self) -> int:
        """The supervisor's number of this attempt."""

    @property
    def slot(self) -> int:
        """The slot that it runs in, from 1."""

    @property
    def workflow_instance_id(self) -> str:
        """Conductor's workflow instance id."""

    @property
    def task_id(self) -> str:
        """Conductor's task id."""

    @property
    def retry_count(self) -> int:
        """Conductor's retry count, from 0."""

    @property
    def workspace(self) -> Path | None:
        """The directory of a workspace task."""

    @property
    def params(self) -> bytes:
        """The task's parameters as JSON."""
