"""Exceptions of Perago; each has a stable ``code`` and, where one helps, a ``hint``."""

from __future__ import annotations

__all__ = [
    "GuardrailViolation",
    "PostGuardrailViolation",
    "PreGuardrailViolation",
    "PublishFenceError",
    "RuntimeConfigError",
    "StaleAttemptError",
    "TaskCancelled",
    "TaskDefinitionError",
    "TaskExecutionError",
    "TaskFailed",
    "TaskInputError",
    "TaskTerminalError",
]


class _Coded(BaseException):
    """Adds a code and a hint; both survive pickling because they live in the instance's dictionary."""

    code: str = "PERAGO-ERROR"
    hint: str | None = None

    def __init__(self, *args: object, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(*args)
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint


class _CodedError(_Coded, Exception):
    """What a caller may handle like any other error."""


class TaskDefinitionError(_CodedError, ValueError):
    """A task, its models or its specs break a rule of the contract."""

    code = "PERAGO-TASK-DEFINITION"


class RuntimeConfigError(_CodedError, ValueError):
    """A setting of the worker is missing or wrong."""

    code = "PERAGO-CONFIG"


class TaskInputError(_CodedError, ValueError):
    """The input of an attempt, or the way it was handed to a task, does not fit the task."""

    code = "input_invalid"


class TaskExecutionError(_CodedError, RuntimeError):
    """Base of the exceptions with which a body fails its attempt on purpose.

    Args:
        reason: What Conductor shows as the reason; must be a string.

    """

    code = "task_failed"
    reason: str

    def __init__(self, reason: str) -> None:
        if not isinstance(reason, str):
            raise TypeError("reason must be str")
        super().__init__(reason)
        self.reason = reason


class TaskFailed(TaskExecutionError):
    """The attempt failed; Conductor retries it as the task's RetryPolicy says."""


class TaskTerminalError(TaskExecutionError):
    """The input can never succeed; Conductor does not retry it."""

    code = "task_terminal"


class GuardrailViolation(_CodedError, RuntimeError):
    """The files of a workspace break one of its guardrails."""

    code = "guardrail"


class PreGuardrailViolation(GuardrailViolation):
    """A guardrail before the body failed."""

    code = "pre_guardrail"


class PostGuardrailViolation(GuardrailViolation):
    """A guardrail after the body failed."""

    code = "post_guardrail"


class PublishFenceError(_CodedError, RuntimeError):
    """The head of the target branch moved, so nothing was published."""

    code = "publish_fence"


class StaleAttemptError(_CodedError, RuntimeError):
    """The attempt is no longer ours, so nothing of it has an effect."""

    code = "lease_lost"


class TaskCancelled(_Coded):
    """Raised in a body that must stop: its task has timed out, was cancelled, or is somebody else's by now.

    Also raised at ``PERAGO_ATTEMPT_TIMEOUT`` and at the deadline of a drain.

    No ``Exception``, so that a body that catches its own errors does not catch it by accident. A body may
    catch it to clean up and has a few seconds for that, ``PERAGO_CANCEL_GRACE``; whatever it does then, its
    outcome is not used. Never raised in thread mode.
    """

    code = "lease_lost"
