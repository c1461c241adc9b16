"""The native module; use it through the façade, never directly."""

from pathlib import Path
from typing import Any, Literal, TypedDict

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
