"""How an attempt ended, in Conductor's terms."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from perago.errors import PreGuardrailViolation, TaskTerminalError

__all__ = [
    "RuntimeTaskResult",
    "completed_result",
    "failed_result",
    "result_for_exception",
    "terminal_failed_result",
]


class RuntimeTaskResult(BaseModel):
    """The end of one attempt: an output, or the reason why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Literal["COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"]
    """Conductor's status of the attempt."""
    output: dict[str, Any] | None = None
    """The output of a completed attempt."""
    reason_for_incompletion: str | None = None
    """Why the attempt did not complete."""

    @model_validator(mode="after")
    def _check_parts(self) -> RuntimeTaskResult:
        if self.status == "COMPLETED":
            if self.output is None:
                raise ValueError("completed results require output")
            if self.reason_for_incompletion is not None:
                raise ValueError("completed results must not include reason_for_incompletion")
        else:
            if self.reason_for_incompletion is None:
                raise ValueError("failed results require reason_for_incompletion")
            if self.output is not None:
                raise ValueError("failed results must not include output")
        return self

    def conductor_payload(self) -> dict[str, Any]:
        """Return the fields that Conductor's task update takes."""
        if self.status == "COMPLETED":
            return {"status": self.status, "output": self.output}
        return {"status": self.status, "reasonForIncompletion": self.reason_for_incompletion}


def completed_result(output: dict[str, Any]) -> RuntimeTaskResult:
    """Return the result of an attempt that completed."""
    return RuntimeTaskResult(status="COMPLETED", output=output)


def failed_result(reason: str, *, max_length: int) -> RuntimeTaskResult:
    """Return the result of an attempt that Conductor may retry.

    Args:
        reason: Why it failed.
        max_length: Most characters of the reason.

    """
    return RuntimeTaskResult(status="FAILED", reason_for_incompletion=cut(reason, max_length))


def terminal_failed_result(reason: str, *, max_length: int) -> RuntimeTaskResult:
    """Return the result of an attempt that Conductor must not retry.

    Args:
        reason: Why it failed.
        max_length: Most characters of the reason.

    """
    return RuntimeTaskResult(
        status="FAILED_WITH_TERMINAL_ERROR", reason_for_incompletion=cut(reason, max_length)
    )


def result_for_exception(exc: BaseException, *, max_length: int) -> RuntimeTaskResult:
    """Return the result of an attempt that an exception ended.

    Args:
        exc: A terminal error or a guardrail before the body ends the task; anything else may be retried.
        max_length: Most characters of the reason.

    """
    from perago._reasons import exception_reason

    make = (
        terminal_failed_result
        if isinstance(exc, (TaskTerminalError, PreGuardrailViolation))
        else failed_result
    )
    return make(exception_reason(exc), max_length=max_length)


def cut(reason: str, max_length: int) -> str:
    """Cut a reason to a number of characters, and log that it was cut."""
    from perago._native import cut_reason

    text, original_length = cut_reason(reason, max_length)
    if original_length is not None:
        import logging

        logging.getLogger("perago").warning(
            "truncated task failure reason",
            extra={"original_length": original_length, "max_length": max_length},
        )
    return text
