"""Guardrails: what must hold of a workspace before and after a body."""

from __future__ import annotations

import os
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from perago._collector import active, report
from perago.errors import (
    GuardrailViolation,
    PostGuardrailViolation,
    PreGuardrailViolation,
    TaskDefinitionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_guardrails", "forbid_glob", "require_dir", "require_file", "require_glob"]

_CODE = "PERAGO-GUARDRAIL-PATH"
_PHASE_ERRORS = {"pre": PreGuardrailViolation, "post": PostGuardrailViolation}


class _WorkspaceGuardrail(BaseModel):
    """One rule on the files of a workspace; made by the builders of this module."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    kind: Literal["require_file", "require_dir", "require_glob", "forbid_glob"]
    path: str
    min_count: int | None = Field(default=None, ge=0)
    max_count: int | None = Field(default=None, ge=0)

    @field_validator("path", mode="before")
    @classmethod
    def _normalise_path(cls, value: object) -> str:
        return _workspace_path(value)

    @model_validator(mode="after")
    def _check_counts(self) -> _WorkspaceGuardrail:
        bounded = self.min_count is not None or self.max_count is not None
        if bounded and self.kind in ("require_file", "require_dir"):
            raise ValueError(f"{self.kind} does not accept count bounds")
        if self.min_count is not None and self.max_count is not None and self.min_count > self.max_count:
            raise ValueError("min_count must be <= max_count")
        return self


def require_file(path: str | os.PathLike[str]) -> _WorkspaceGuardrail:
    """Require a file at exactly this path.

    Args:
        path: Relative to the workspace, with ``/`` as separator.

    Raises:
        TaskDefinitionError: The path could leave the workspace or names a drive.

    """
    return _build("require_file", path)


def require_dir(path: str | os.PathLike[str]) -> _WorkspaceGuardrail:
    """Require a directory at exactly this path.

    Args:
        path: Relative to the workspace, with ``/`` as separator.

    Raises:
        TaskDefinitionError: The path could leave the workspace or names a drive.

    """
    return _build("require_dir", path)


def require_glob(
    pattern: str | os.PathLike[str], *, min_count: int | None = 1, max_count: int | None = None
) -> _WorkspaceGuardrail:
    """Require a number of matches of a pattern.

    Args:
        pattern: As for ``pathlib.Path.glob``, relative to the workspace.
        min_count: Fewest matches; ``None`` is 1.
        max_count: Most matches; ``None`` is no bound.

    Raises:
        TaskDefinitionError: The pattern could leave the workspace or names a drive.
        pydantic.ValidationError: A bound is negative, or the lower one exceeds the upper one.

    """
    return _build(
        "require_glob", pattern, min_count=1 if min_count is None else min_count, max_count=max_count
    )


def forbid_glob(pattern: str | os.PathLike[str]) -> _WorkspaceGuardrail:
    """Forbid any match of a pattern.

    Args:
        pattern: As for ``pathlib.Path.glob``, relative to the workspace.

    Raises:
        TaskDefinitionError: The pattern could leave the workspace or names a drive.

    """
    return _build("forbid_glob", pattern)


def check_guardrails(root: Path, guardrails: Iterable[_WorkspaceGuardrail], phase: str) -> None:
    """Check guardrails in order against a directory.

    Args:
        root: The workspace.
        guardrails: What must hold.
        phase: ``pre`` or ``post``; stands in the message and chooses the exception.

    Raises:
        GuardrailViolation: The first guardrail that does not hold.

    """
    for guardrail in guardrails:
        failure = _failure_of(root, guardrail)
        if failure is not None:
            text = f"{phase} guardrail {guardrail.kind}('{guardrail.path}') {failure}"
            raise _PHASE_ERRORS.get(phase, GuardrailViolation)(text)


def _failure_of(root: Path, guardrail: _WorkspaceGuardrail) -> str | None:
    from perago._native import guardrail_violation

    return guardrail_violation(root, guardrail.kind, guardrail.path, guardrail.min_count, guardrail.max_count)


def _build(
    kind: Literal["require_file", "require_dir", "require_glob", "forbid_glob"],
    path: str | os.PathLike[str],
    *,
    min_count: int | None = None,
    max_count: int | None = None,
) -> _WorkspaceGuardrail:
    from pydantic import ValidationError

    try:
        normalised = _workspace_path(path)
    except TaskDefinitionError as error:
        report(error)
        normalised = "refused"
    try:
        return _WorkspaceGuardrail(kind=kind, path=normalised, min_count=min_count, max_count=max_count)
    except ValidationError as error:
        if active() is None:
            raise
        from perago._reasons import validation_reason

        report(TaskDefinitionError(validation_reason(error, kind), code="PERAGO-GUARDRAIL-COUNT"))
        return _WorkspaceGuardrail(kind=kind, path=normalised)


def _workspace_path(path: object) -> str:
    """Return a path with ``/`` as separator, checked by the contract's rules."""
    from perago._native import check_guardrail_path

    text = path if isinstance(path, str) else _text_of(path)
    check_guardrail_path(text)
    return text


def _text_of(path: object) -> str:
    if not isinstance(path, os.PathLike):
        raise TypeError(f"workspace path must be a str or an os.PathLike, not {type(path).__name__}")
    if not isinstance(path, PurePath):
        text = os.fspath(path)
        if not isinstance(text, str):
            raise TypeError("workspace path must be text, not bytes")
        return text
    if isinstance(path, PureWindowsPath) and (path.drive or path.root):
        raise TaskDefinitionError("workspace path must not be drive-qualified or absolute", code=_CODE)
    if path.is_absolute():
        raise TaskDefinitionError("workspace path must be relative, not absolute", code=_CODE)
    if not path.parts:
        raise TaskDefinitionError("workspace path must not be empty", code=_CODE)
    return "/".join(path.parts)
