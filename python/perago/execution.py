"""Running a task's body by hand: in unit tests and in scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from perago._attempt import Failure, call_body, failure_of
from perago._values import result_data, validate_params
from perago.errors import TaskInputError
from perago.models import WorkspaceInput, WorkspaceOutput

if TYPE_CHECKING:
    from perago.metrics import MetricRecorder
    from perago.result import RuntimeTaskResult
    from perago.task import TaskDefinition

__all__ = [
    "build_workspace_free_task_output",
    "build_workspace_task_output",
    "invoke_workspace_free_task",
    "invoke_workspace_task_body",
    "run_workspace_free_task_attempt",
]


def invoke_workspace_free_task(
    task: TaskDefinition, input_data: Mapping[str, Any], *, metrics: MetricRecorder | None = None
) -> dict[str, Any]:
    """Run the body of a task without workspace.

    Args:
        task: A declared task.
        input_data: ``{"params": …}``; other keys are ignored.
        metrics: The recorder of a task with metrics, in tests an ``InMemoryMetricRecorder``.

    Returns:
        ``{"result": …}`` in plain JSON data.

    Raises:
        TaskInputError: The task has a workspace, the input lacks ``params``, or a task with metrics got no
            recorder.
        pydantic.ValidationError: The parameters or the result do not match their model.

    """
    if task.has_workspace:
        raise TaskInputError("invoke_workspace_free_task only supports workspace-free tasks")
    params = validate_params(task, _params_of(input_data))
    return build_workspace_free_task_output(task, call_body(task, params, metrics, None))


def invoke_workspace_task_body(
    task: TaskDefinition,
    input_data: Mapping[str, Any],
    workspace_dir: Path,
    *,
    metrics: MetricRecorder | None = None,
) -> dict[str, Any]:
    """Run the body of a workspace task on a local directory; nothing is downloaded or published.

    Args:
        task: A declared task.
        input_data: ``{"workspace": …, "params": …}``; other keys are ignored.
        workspace_dir: The directory that the body works on.
        metrics: The recorder of a task with metrics, in tests an ``InMemoryMetricRecorder``.

    Returns:
        ``{"result": …}`` in plain JSON data.

    Raises:
        TaskInputError: The task has no workspace, the input lacks a key, or a task with metrics got no
            recorder.
        pydantic.ValidationError: The workspace, the parameters or the result do not match their model.

    """
    _require_workspace(task, "invoke_workspace_task_body only supports workspace tasks")
    if not _has_keys(input_data, "workspace", "params"):
        raise TaskInputError("workspace task input must contain workspace and params")
    WorkspaceInput.model_validate(input_data["workspace"])
    params = validate_params(task, input_data["params"])
    return {"result": result_data(task, call_body(task, params, metrics, workspace_dir))}


def build_workspace_free_task_output(task: TaskDefinition, raw: object) -> dict[str, Any]:
    """Return the output of a task without workspace for what its body returned.

    Raises:
        TaskInputError: The task has a workspace.
        pydantic.ValidationError: The result does not match its model.
        ValueError: JSON cannot hold the result.

    """
    if task.has_workspace:
        raise TaskInputError("cannot build workspace-free output for a workspace task")
    return {"result": result_data(task, raw)}


def build_workspace_task_output(
    task: TaskDefinition, input_workspace: WorkspaceInput, published_ref: str, raw: object
) -> dict[str, Any]:
    """Return the output of a workspace task for what its body returned.

    Args:
        task: A declared task.
        input_workspace: The workspace that the task got.
        published_ref: The commit that was published.
        raw: What the body returned.

    Raises:
        TaskInputError: The task has no workspace.
        pydantic.ValidationError: The result does not match its model.
        ValueError: JSON cannot hold the result.

    """
    _require_workspace(task, "cannot build workspace output for a workspace-free task")
    output: WorkspaceOutput = input_workspace.published_output(published_ref)
    return {"workspace": output.model_dump(mode="json"), "result": result_data(task, raw)}


def run_workspace_free_task_attempt(
    task: TaskDefinition,
    input_data: Mapping[str, Any],
    *,
    metrics: MetricRecorder | None = None,
    failure_reason_max_length: int,
) -> RuntimeTaskResult:
    """Run an attempt of a task without workspace, with failures turned into results.

    Args:
        task: A declared task.
        input_data: ``{"params": …}``; other keys are ignored.
        metrics: The recorder of a task with metrics.
        failure_reason_max_length: Most characters of the reason of a failure.

    Raises:
        TaskInputError: The task has a workspace.

    """
    from perago.result import completed_result, failed_result, terminal_failed_result

    if task.has_workspace:
        raise TaskInputError("run_workspace_free_task_attempt only supports workspace-free tasks")
    failure: Failure
    try:
        raw_params = _params_of(input_data)
        try:
            params = validate_params(task, raw_params)
        except ValidationError as error:
            failure = failure_of(error, "params")
        else:
            raw = call_body(task, params, metrics, None)
            try:
                return completed_result({"result": result_data(task, raw)})
            except Exception as error:
                failure = failure_of(error, "result")
    except Exception as error:
        failure = failure_of(error, "body")
    make = terminal_failed_result if failure.is_terminal else failed_result
    return make(failure.reason, max_length=failure_reason_max_length)


def _params_of(input_data: Mapping[str, Any]) -> Any:
    if not _has_keys(input_data, "params"):
        raise TaskInputError("workspace-free task input must contain params")
    return input_data["params"]


def _has_keys(input_data: object, *keys: str) -> bool:
    return isinstance(input_data, Mapping) and all(key in input_data for key in keys)


def _require_workspace(task: TaskDefinition, message: str) -> None:
    if not task.has_workspace:
        raise TaskInputError(message)


def __getattr__(name: str) -> Any:
    """Explain the absence of names that the 0.6 package had here."""
    from perago._removed import missing_attribute

    missing_attribute(__name__, name)
