"""Names of the staging branches that attempts publish from."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

_FIELDS = ("workflow_instance_id", "reference_task_name", "seq", "iteration", "task_id", "retry_count")


def staging_branch_name(task: Any, *, execution_id: str | None = None) -> str:
    """Return the name of the branch on which an attempt stages its files.

    Args:
        task: A task as Conductor hands it out, or anything with its attributes.
        execution_id: Id of this run; the task's own if it has one, else a new one.

    Raises:
        AttributeError: The task lacks an attribute; the message names it.

    """
    from perago import _native

    values = {}
    for field in _FIELDS:
        if not hasattr(task, field):
            raise AttributeError(f"task is missing required attribute {field}")
        values[field] = str(getattr(task, field))
    run = execution_id or getattr(task, "execution_id", None)
    if not run:
        from uuid import uuid4

        run = uuid4().hex
    return _native.staging_branch_name(**values, execution_id=str(run))
