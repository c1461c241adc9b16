"""The signatures that a body may have."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

from pydantic import BaseModel

from perago._collector import report
from perago.errors import TaskDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

_CODE = "PERAGO-SIGNATURE"
_FORMS = "(params), (params, metrics), (workspace, params) or (workspace, params, metrics)"


@dataclass(frozen=True)
class Signature:
    """The models of an accepted signature."""

    params_model: type[BaseModel]
    output_model: type[BaseModel]


def check_signature(
    fn: Callable[..., Any], *, has_workspace: bool, has_metrics: bool, place: tuple[str | None, int | None]
) -> Signature | None:
    """Check a body's signature.

    Args:
        fn: The body.
        has_workspace: Whether the task declares a WorkspaceSpec.
        has_metrics: Whether the task declares a MetricSpec.
        place: File and line for findings.

    Returns:
        The models, or ``None`` when a check collected a mistake.

    Raises:
        TaskDefinitionError: The signature breaks a rule, and no check is running.

    """
    try:
        parameters = _plain_parameters(fn)
        hints = _hints(fn)
    except TaskDefinitionError as error:
        report(error, place)
        return None
    complete = True
    checks: tuple[Callable[[], None], ...] = (
        lambda: _check_shape(parameters, hints, has_workspace, has_metrics),
        lambda: _model(hints.get("params"), "params must be annotated with a pydantic BaseModel class"),
        lambda: _model(hints.get("return"), "return value must be annotated with a pydantic BaseModel class"),
    )
    for check in checks:
        try:
            check()
        except TaskDefinitionError as error:
            report(error, place)
            complete = False
    return Signature(hints["params"], hints["return"]) if complete else None


def _plain_parameters(fn: Callable[..., Any]) -> list[str]:
    if inspect.iscoroutinefunction(fn):
        _refuse(
            "task must be a synchronous function",
            hint="call asyncio.run(...) inside the body; each slot runs one body at a time",
        )
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError) as error:
        raise TaskDefinitionError(f"task must be a function: {error}", code=_CODE) from error
    if any(parameter.kind is not parameter.POSITIONAL_OR_KEYWORD for parameter in parameters):
        _refuse("task must not use *args, **kwargs, keyword-only or positional-only parameters")
    if any(parameter.default is not parameter.empty for parameter in parameters):
        _refuse(
            "task parameters must not declare defaults",
            hint="declare defaults on the fields of the params model",
        )
    return [parameter.name for parameter in parameters]


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(fn)
    except Exception as error:
        raise TaskDefinitionError(
            f"failed to resolve task type hints: {error}",
            code="PERAGO-TYPE-HINTS",
            hint="names in annotations must exist at run time: not under `if TYPE_CHECKING`",
        ) from error


def _check_shape(names: list[str], hints: dict[str, Any], has_workspace: bool, has_metrics: bool) -> None:
    if not 1 <= len(names) <= 3:
        _refuse(f"task parameters must be exactly {_FORMS}")
    if len(names) == 1:
        _check_alone(names[0], has_workspace, has_metrics)
    elif names == ["params", "metrics"]:
        if has_workspace:
            _refuse_workspace()
        _check_metrics(hints, has_metrics)
    else:
        _check_workspace_form(names, hints, has_workspace, has_metrics)


def _check_alone(name: str, has_workspace: bool, has_metrics: bool) -> None:
    if name != "params":
        _refuse(f"task parameter must be named params, not {name}")
    if has_workspace:
        _refuse_workspace()
    if has_metrics:
        _refuse_metric_spec()


def _check_workspace_form(
    names: list[str], hints: dict[str, Any], has_workspace: bool, has_metrics: bool
) -> None:
    if names[:2] != ["workspace", "params"]:
        _refuse(f"workspace task parameters must be named workspace and params, in this order: {_FORMS}")
    if hints.get("workspace") is not Path:
        _refuse("workspace must be annotated as pathlib.Path")
    if not has_workspace:
        _refuse(
            "tasks with a workspace parameter require workspace=WorkspaceSpec(...)",
            hint="add workspace=WorkspaceSpec() to @task(...) for the whole repository",
        )
    if len(names) == 2:
        if has_metrics:
            _refuse_metric_spec()
        return
    if names[2] != "metrics":
        _refuse(f"third task parameter must be named metrics, not {names[2]}")
    _check_metrics(hints, has_metrics)


def _check_metrics(hints: dict[str, Any], has_metrics: bool) -> None:
    from perago.metrics import MetricRecorder

    if hints.get("metrics") is not MetricRecorder:
        _refuse("metrics must be annotated as perago.MetricRecorder")
    if not has_metrics:
        _refuse(
            "metrics parameter requires metrics=MetricSpec(...)",
            hint="add metrics=MetricSpec() to @task(...)",
        )


def _model(hint: Any, message: str) -> None:
    if not (isinstance(hint, type) and issubclass(hint, BaseModel)):
        _refuse(message)


def _refuse_workspace() -> NoReturn:
    _refuse(
        "workspace-free tasks must not declare workspace=WorkspaceSpec(...)",
        hint="take `workspace: Path` as the first parameter, or remove the WorkspaceSpec",
    )


def _refuse_metric_spec() -> NoReturn:
    _refuse(
        "metrics=MetricSpec(...) requires a metrics parameter",
        hint="take `metrics: MetricRecorder` as the last parameter, or remove the MetricSpec",
    )


def _refuse(message: str, *, hint: str | None = None) -> NoReturn:
    raise TaskDefinitionError(message, code=_CODE, hint=hint)
