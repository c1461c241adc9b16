"""Names of the 0.6 package that only its own runtime used, and what takes their place."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import NoReturn

_SUPERVISOR = "`perago start` runs and restarts the executors itself"
_ENGINE = "the worker downloads, compares and publishes workspaces itself"
_FENCE = "the worker fences every effect of an attempt itself"

REMOVED = {
    "StagedWorkspace": _ENGINE,
    "TaskExecutionContext": "bodies read PERAGO_WORKER_ID, PERAGO_SLOT and PERAGO_SLOTS from the environment",
    "WorkerChildSpec": _SUPERVISOR,
    "WorkerRuntime": _SUPERVISOR,
    "WorkspaceDownloadFile": _ENGINE,
    "WorkspaceSyncPlan": _ENGINE,
    "WorkspaceUploadFile": _ENGINE,
    "assert_current_attempt_snapshot": _FENCE,
    "build_workspace_sync_plan": _ENGINE,
    "prepare_worker_runtime": _SUPERVISOR,
    "restart_backoff_seconds": _SUPERVISOR,
    "run_workspace_task_attempt": (
        "test a body with perago.invoke_workspace_task_body; `perago start` runs whole attempts"
    ),
    "worker_child_specs": _SUPERVISOR,
    "workspace_delete_object_paths": _ENGINE,
    "workspace_download_files": _ENGINE,
    "workspace_local_path": _ENGINE,
    "workspace_upload_files": _ENGINE,
}


def missing_attribute(module: str, name: str) -> NoReturn:
    """Raise for a name that a module does not have.

    Args:
        module: The module that was asked.
        name: The name it was asked for.

    Raises:
        ImportError: The name belonged to the 0.6 package; an ``AttributeError`` would lose the advice,
            because
            ``from … import`` replaces its text.
        AttributeError: The name never existed.

    """
    replacement = REMOVED.get(name)
    if replacement is not None:
        raise ImportError(
            f"{name} belonged to the runtime of perago 0.6 and is not part of this version; "
            f"instead: {replacement}",
            name=name,
            path=module,
        )
    raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
