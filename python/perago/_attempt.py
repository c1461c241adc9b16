"""One attempt in an executor: parameters as JSON in, the result as JSON or a named failure out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from perago import _native
from perago._reasons import exception_reason, validation_reason
from perago._values import ResultNotJsonError, result_json, validate_params
from perago.errors import (
    PostGuardrailViolation,
    PreGuardrailViolation,
    TaskFailed,
    TaskInputError,
    TaskTerminalError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic import BaseModel

    from perago.metrics import MetricRecorder
    from perago.task import TaskDefinition

_TERMINAL = {code: terminal for code, terminal, _ in _native.failure_catalogue()}
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (TaskTerminalError, "task_terminal"),
    (TaskFailed, "task_failed"),
    (PreGuardrailViolation, "pre_guardrail"),
    (PostGuardrailViolation, "post_guardrail"),
)


class Failure(NamedTuple):
    """Why an attempt did not complete."""

    code: str
    """A code of the failure catalogue."""
    reason: str
    """What Conductor shows, uncut."""

    @property
    def is_terminal(self) -> bool:
        """Whether Conductor is told not to retry."""
        return _TERMINAL[self.code]

    @property
    def status(self) -> str:
        """Conductor's status of the attempt."""
        return "FAILED_WITH_TERMINAL_ERROR" if self.is_terminal else "FAILED"


class MissingMetricsError(TaskInputError):
    """A task with metrics was run without a recorder."""

    code = "metrics_missing"


class Runner:
    """Runs attempts of one task; safe to use from several threads at once.

    Args:
        definition: The declared task.
        reason_max_length: Most characters of the reason of a failure; ``None`` leaves the cut to the caller.

    """

    def __init__(self, definition: TaskDefinition, *, reason_max_length: int | None = None) -> None:
        self.definition = definition
        self.reason_max_length = reason_max_length

    def run(
        self,
        params_json: bytes,
        metrics: MetricRecorder | None,
        workspace: Path | None = None,
        *,
        on_exception: Callable[[str], None] | None = None,
    ) -> tuple[str, bytes | str, str]:
        """Run one attempt.

        Args:
            params_json: The ``params`` of the input as JSON.
            metrics: The recorder of a task with metrics.
            workspace: The directory of a workspace task; its guardrails are the caller's to check.
            on_exception: Called with the text and traceback of an exception of the body, or of one that a
                validator
                of the author raises where pydantic expects a ValueError; the traceback begins in the author's
                code.

        Returns:
            ``("COMPLETED", result as JSON, "")``, or Conductor's status, the reason and the failure code.

        Raises:
            BaseException: What is no ``Exception`` (``SystemExit``, ``KeyboardInterrupt``) ends the executor.

        """
        outcome = self._attempt(params_json, metrics, workspace, on_exception)
        if isinstance(outcome, bytes):
            return "COMPLETED", outcome, ""
        reason = outcome.reason
        if self.reason_max_length is not None:
            reason, _ = _native.cut_reason(reason, self.reason_max_length)
        return outcome.status, reason, outcome.code

    def _attempt(
        self,
        params_json: bytes,
        metrics: MetricRecorder | None,
        workspace: Path | None,
        on_exception: Callable[[str], None] | None,
    ) -> bytes | Failure:
        task = self.definition
        try:
            raw_params = from_json(params_json, allow_inf_nan=False)
        except ValueError:
            return Failure("input_invalid", "params: not valid JSON")
        try:
            params = validate_params(task, raw_params)
        except Exception as error:
            return _told_failure(error, "params", on_exception)
        try:
            value = call_body(task, params, metrics, workspace)
        except Exception as error:
            return _told_failure(error, "body", on_exception)
        try:
            return result_json(task, value)
        except Exception as error:
            return _told_failure(error, "result", on_exception)


def _told_failure(error: Exception, phase: str, on_exception: Callable[[str], None] | None) -> Failure:
    complete = phase != "body" and isinstance(error, (ValidationError, ResultNotJsonError))
    if on_exception is not None and not complete:
        from perago._tracebacks import format_author_exception

        on_exception(format_author_exception(error))
    return failure_of(error, phase)


def call_body(
    task: TaskDefinition, params: BaseModel, metrics: MetricRecorder | None, workspace: Path | None
) -> Any:
    """Call a body with the arguments of its signature.

    Raises:
        TaskInputError: A task with metrics got no recorder.

    """
    arguments: list[Any] = [params] if workspace is None else [workspace, params]
    if task.metrics is not None:
        if metrics is None:
            raise MissingMetricsError(f"task {task.name} declares metrics and needs a MetricRecorder")
        arguments.append(metrics)
    return task.fn(*arguments)


def failure_of(error: Exception, phase: str) -> Failure:
    """Name the failure that an exception is.

    Args:
        error: The exception.
        phase: Where it was raised: ``params``, ``body`` or ``result``.

    """
    if phase != "body" and isinstance(error, ValidationError):
        return Failure(f"{phase}_invalid", validation_reason(error, phase))
    if isinstance(error, ResultNotJsonError) and phase == "result":
        return Failure(error.code, str(error))
    reason = exception_reason(error)
    if phase != "body":
        return Failure(f"{phase}_invalid", f"{phase}: {reason}")
    for kind, code in _CODES:
        if isinstance(error, kind):
            return Failure(code, reason)
    return Failure("metrics_missing" if isinstance(error, MissingMetricsError) else "body_raised", reason)
