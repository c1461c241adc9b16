"""Perago: one typed function becomes a production task worker for the Conductor workflow engine.

Every public name is imported when it is first used, so that ``import perago`` costs nothing.
"""

from __future__ import annotations

import sys

# Importing `typing` for its constant would cost more than the rest of this module.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from perago._native import __version__
    from perago._registry import load_module_task
    from perago._staging import staging_branch_name
    from perago.config import (
        ConductorConfig,
        ExecutionMode,
        LakeFSConfig,
        MetricsConfig,
        RuntimeConfig,
        load_runtime_config,
    )
    from perago.errors import (
        GuardrailViolation,
        PostGuardrailViolation,
        PreGuardrailViolation,
        PublishFenceError,
        RuntimeConfigError,
        StaleAttemptError,
        TaskCancelled,
        TaskDefinitionError,
        TaskExecutionError,
        TaskFailed,
        TaskInputError,
        TaskTerminalError,
    )
    from perago.execution import (
        build_workspace_free_task_output,
        build_workspace_task_output,
        invoke_workspace_free_task,
        invoke_workspace_task_body,
        run_workspace_free_task_attempt,
    )
    from perago.guards import check_guardrails, forbid_glob, require_dir, require_file, require_glob
    from perago.metrics import MetricRecorder
    from perago.models import (
        ExecutionLimits,
        MetricSpec,
        PublishBudget,
        RetryPolicy,
        TaskControls,
        TimeoutPolicy,
        WorkspaceInput,
        WorkspaceOutput,
        WorkspaceSpec,
    )
    from perago.task import TaskDefinition, task
    from perago.taskdef import build_taskdef, write_taskdef

__all__ = [
    "ConductorConfig",
    "ExecutionLimits",
    "ExecutionMode",
    "GuardrailViolation",
    "LakeFSConfig",
    "MetricRecorder",
    "MetricSpec",
    "MetricsConfig",
    "PostGuardrailViolation",
    "PreGuardrailViolation",
    "PublishBudget",
    "PublishFenceError",
    "RetryPolicy",
    "RuntimeConfig",
    "RuntimeConfigError",
    "StaleAttemptError",
    "TaskCancelled",
    "TaskControls",
    "TaskDefinition",
    "TaskDefinitionError",
    "TaskExecutionError",
    "TaskFailed",
    "TaskInputError",
    "TaskTerminalError",
    "TimeoutPolicy",
    "WorkspaceInput",
    "WorkspaceOutput",
    "WorkspaceSpec",
    "__version__",
    "build_taskdef",
    "build_workspace_free_task_output",
    "build_workspace_task_output",
    "check_guardrails",
    "forbid_glob",
    "invoke_workspace_free_task",
    "invoke_workspace_task_body",
    "load_module_task",
    "load_runtime_config",
    "require_dir",
    "require_file",
    "require_glob",
    "run_workspace_free_task_attempt",
    "staging_branch_name",
    "task",
    "write_taskdef",
]

_HOMES = {
    "_native": ("__version__",),
    "_registry": ("load_module_task",),
    "_staging": ("staging_branch_name",),
    "config": (
        "ConductorConfig",
        "ExecutionMode",
        "LakeFSConfig",
        "MetricsConfig",
        "RuntimeConfig",
        "load_runtime_config",
    ),
    "errors": (
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
    ),
    "execution": (
        "build_workspace_free_task_output",
        "build_workspace_task_output",
        "invoke_workspace_free_task",
        "invoke_workspace_task_body",
        "run_workspace_free_task_attempt",
    ),
    "guards": ("check_guardrails", "forbid_glob", "require_dir", "require_file", "require_glob"),
    "metrics": ("MetricRecorder",),
    "models": (
        "ExecutionLimits",
        "MetricSpec",
        "PublishBudget",
        "RetryPolicy",
        "TaskControls",
        "TimeoutPolicy",
        "WorkspaceInput",
        "WorkspaceOutput",
        "WorkspaceSpec",
    ),
    "task": ("TaskDefinition", "task"),
    "taskdef": ("build_taskdef", "write_taskdef"),
}
_SUBMODULES = frozenset(
    {"config", "errors", "execution", "guards", "metrics", "models", "result", "taskdef", "testing"}
)
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


class _Package(type(sys)):  # type: ignore[misc]
    """Keeps ``perago.task`` the decorator although a submodule has the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import system binds a submodule to its package once it is loaded.
        if name == "task" and isinstance(value, type(sys)):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    home = _HOME_OF.get(name)
    if home is None:
        if name in _SUBMODULES:
            return __import__(f"perago.{name}", fromlist=[name])
        from perago._removed import missing_attribute

        missing_attribute(__name__, name)
    # `import_module` would load importlib.machinery; the built-in form costs nothing.
    module = __import__(f"perago.{home}", fromlist=[name])
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({*globals(), *__all__, *_SUBMODULES})
