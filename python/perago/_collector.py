"""Collects what is wrong with an author's module instead of stopping at the first mistake.

``perago check`` sets a collector while it imports a module. Elsewhere there is none, and mistakes raise.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import FrameType

    from perago.errors import TaskDefinitionError

_PACKAGE = __file__.rpartition("/")[0] + "/"
_active: Collector | None = None


class Collector:
    """Findings of one module, in the order in which they were met."""

    def __init__(self) -> None:
        self.findings: list[dict[str, object]] = []
        self.declarations = 0

    def add(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        place: tuple[str | None, int | None] = (None, None),
        severity: str = "error",
    ) -> None:
        """Keep one finding.

        Args:
            code: Stable code, for example ``PERAGO-TASK-NAME``.
            message: What is wrong.
            hint: How to mend it.
            place: The author's file and line.
            severity: ``error`` or ``warning``.

        """
        finding: dict[str, object] = {
            "code": code,
            "severity": severity,
            "message": message,
            "hint": hint,
            "file": place[0],
            "line": place[1],
        }
        if finding not in self.findings:
            self.findings.append(finding)

    @property
    def has_error(self) -> bool:
        """Whether any finding keeps the task from running."""
        return any(finding["severity"] == "error" for finding in self.findings)

    def __enter__(self) -> Collector:
        global _active
        _active = self
        return self

    def __exit__(self, *_: object) -> None:
        global _active
        _active = None


def active() -> Collector | None:
    """Return the collector of the check that is running, if one is."""
    return _active


def report(error: TaskDefinitionError, place: tuple[str | None, int | None] | None = None) -> None:
    """Collect a mistake while a check runs, raise it otherwise.

    Args:
        error: The mistake.
        place: The author's file and line; the calling author's line if left out.

    Raises:
        TaskDefinitionError: The given one, when no check runs.

    """
    collector = _active
    if collector is None:
        raise error
    collector.add(error.code, str(error), hint=error.hint, place=place or author_place())


def author_place() -> tuple[str | None, int | None]:
    """Return file and line of the innermost caller that is neither ours nor pydantic's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not is_ours(filename):
            return filename, frame.f_lineno
        frame = frame.f_back
    return None, None


def is_ours(filename: str) -> bool:
    """Whether a file belongs to Perago, pydantic or the import system."""
    return (
        filename.startswith((_PACKAGE, "<frozen importlib", "<frozen runpy"))
        or "/importlib/" in filename
        or "/pydantic/" in filename
    )
