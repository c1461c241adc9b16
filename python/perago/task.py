"""The ``task`` decorator and what it makes of a function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from perago import _registry
from perago._collector import active, author_place, report
from perago._signature import check_signature
from perago.errors import TaskDefinitionError
from perago.models import MetricSpec, TaskControls, WorkspaceSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

__all__ = ["TaskDefinition", "load_module_task", "task"]

load_module_task = _registry.load_module_task
_Function = TypeVar("_Function", bound="Callable[..., Any]")


@dataclass(frozen=True)
class TaskDefinition:
    """One declared task."""

    name: str
    """Conductor's name of the task."""
    owner_email: str
    """Who answers for it."""
    fn: Callable[..., Any]
    """The body."""
    params_model: type[BaseModel]
    """Model of the parameters."""
    output_model: type[BaseModel]
    """Model of the result."""
    strict_params: bool = False
    """Whether unknown fields in the parameters are refused rather than ignored."""
    description: str | None = None
    """Free text in the TaskDef."""
    workspace: WorkspaceSpec | None = None
    """The workspace it asks for."""
    metrics: MetricSpec | None = None
    """Switches of the built-in metrics; ``None`` is a task without metrics."""
    controls: TaskControls = field(default_factory=TaskControls)
    """How Conductor treats it."""

    @property
    def has_workspace(self) -> bool:
        """Whether the task works on a workspace."""
        return self.workspace is not None


def task(
    *,
    name: str,
    owner_email: str,
    description: str | None = None,
    workspace: WorkspaceSpec | None = None,
    metrics: MetricSpec | None = None,
    controls: TaskControls | None = None,
    strict_params: bool = False,
    **unsupported: object,
) -> Callable[[_Function], _Function]:
    """Declare a function as a task.

    The function stays what it is and can be called in tests; its declaration is kept as ``__perago_task__``.

    Args:
        name: Conductor's name of the task.
        owner_email: Who answers for it; Conductor demands it.
        description: Free text in the TaskDef.
        workspace: Asks for a workspace; the body then takes ``workspace: Path`` first.
        metrics: Asks for metrics; the body then takes ``metrics: MetricRecorder`` last.
        controls: Retries, timeouts and limits.
        strict_params: Refuse unknown fields in the parameters instead of ignoring them.
        **unsupported: Anything else is refused by name.

    Raises:
        TaskDefinitionError: The declaration or the function's signature breaks a rule.

    """
    if unsupported:
        fields = ", ".join(sorted(unsupported))
        report(
            TaskDefinitionError(
                f"unsupported task decorator fields: {fields}",
                code="PERAGO-TASK-FIELDS",
                hint="known: name, owner_email, description, workspace, metrics, controls, strict_params",
            )
        )

    def decorate(fn: _Function) -> _Function:
        place = _place_of(fn)
        before = _error_count()
        checks: tuple[Callable[[], None], ...] = (
            lambda: _check_name(name),
            lambda: _check_owner(owner_email),
            lambda: _check_specs(workspace, metrics, controls),
            lambda: _check_strictness(strict_params),
            lambda: _check_budget(workspace, controls),
        )
        for check in checks:
            try:
                check()
            except TaskDefinitionError as error:
                report(error, place)
        signature = check_signature(
            fn, has_workspace=workspace is not None, has_metrics=metrics is not None, place=place
        )
        collector = active()
        if collector is not None:
            collector.declarations += 1
        if signature is None or _error_count() != before:
            _registry.register_broken(fn)
            return fn
        definition = TaskDefinition(
            name=name,
            owner_email=owner_email,
            fn=fn,
            params_model=signature.params_model,
            output_model=signature.output_model,
            strict_params=strict_params,
            description=description,
            workspace=workspace,
            metrics=metrics,
            controls=controls if controls is not None else TaskControls(),
        )
        fn.__perago_task__ = definition  # type: ignore[attr-defined]
        _registry.register(definition)
        return fn

    return decorate


def _error_count() -> int:
    collector = active()
    return 0 if collector is None else len(collector.findings)


def _place_of(fn: Any) -> tuple[str | None, int | None]:
    code = getattr(fn, "__code__", None)
    return author_place() if code is None else (code.co_filename, code.co_firstlineno)


def _check_name(name: object) -> None:
    from perago._native import check_task_name

    if not isinstance(name, str):
        detail = (
            "task name is required" if name is None else f"task name must be a str, not {type(name).__name__}"
        )
        raise TaskDefinitionError(detail, code="PERAGO-TASK-NAME")
    check_task_name(name)


def _check_owner(owner_email: object) -> None:
    from perago._native import check_owner_email

    if not isinstance(owner_email, str):
        kind = type(owner_email).__name__
        detail = (
            "owner_email is required" if owner_email is None else f"owner_email must be a str, not {kind}"
        )
        raise TaskDefinitionError(detail, code="PERAGO-OWNER-EMAIL")
    check_owner_email(owner_email)


def _check_specs(workspace: object, metrics: object, controls: object) -> None:
    for value, model, text in (
        (workspace, WorkspaceSpec, "workspace must be a WorkspaceSpec"),
        (metrics, MetricSpec, "metrics must be a MetricSpec"),
        (controls, TaskControls, "controls must be a TaskControls"),
    ):
        if value is not None and not isinstance(value, model):
            raise TaskDefinitionError(text, code="PERAGO-TASK-SPEC")


def _check_strictness(strict_params: object) -> None:
    if not isinstance(strict_params, bool):
        raise TaskDefinitionError("strict_params must be a bool", code="PERAGO-TASK-SPEC")


def _check_budget(workspace: object, controls: object) -> None:
    if workspace is None and isinstance(controls, TaskControls) and controls.publish_budget is not None:
        raise TaskDefinitionError(
            "publish_budget requires workspace=WorkspaceSpec(...)",
            code="PERAGO-PUBLISH-BUDGET",
            hint="a task without a workspace publishes nothing: remove the budget",
        )
