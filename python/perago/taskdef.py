"""From a declared task to the TaskDef that Conductor gets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from perago._description import description_json, model_schema, refuse_root_models
from perago._native import task_definition, transform_schema

if TYPE_CHECKING:
    from pydantic import BaseModel

    from perago.task import TaskDefinition

__all__ = ["build_taskdef", "schema_for_model", "write_taskdef"]


def build_taskdef(task: TaskDefinition) -> dict[str, Any]:
    """Return the TaskDef of a task, keys in the contract's order.

    Args:
        task: A declared task, for example from :func:`perago.load_module_task`.

    Raises:
        TaskDefinitionError: The task breaks a rule of the contract.
        pydantic.PydanticInvalidForJsonSchema: A field has a type without a JSON Schema.

    Warns:
        UserWarning: The publish budget needs a longer lease than the timeout grants.

    """
    from pydantic_core import from_json

    document: dict[str, Any] = from_json(taskdef_text(task))
    return document


def write_taskdef(task: TaskDefinition, output: Path) -> Path:
    """Write the TaskDef of a task to a file, making its directory if it is not there.

    Args:
        task: A declared task.
        output: Path of a ``.json`` file.

    Returns:
        The path.

    Raises:
        ValueError: The path is a directory or has another suffix.
        TaskDefinitionError: The task breaks a rule of the contract.

    """
    output = Path(output)
    if output.suffix != ".json":
        raise ValueError("output must be a JSON file path, for example generated/features.build.json")
    if output.is_dir():
        raise ValueError("output must be a JSON file path, not a directory")
    text = taskdef_text(task)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    return output


def taskdef_text(task: TaskDefinition) -> str:
    """Return the TaskDef of a task as the text of its file.

    Raises:
        TaskDefinitionError: The task breaks a rule of the contract.

    """
    refuse_root_models(task)
    text, findings = task_definition(description_json(task))
    if b"PERAGO-BUDGET-EXCEEDS-LEASE" in findings:
        _warn_of_budget(findings)
    return text


def schema_for_model(model: type[BaseModel], *, allow_extra: bool = False) -> dict[str, Any]:
    """Return the JSON Schema of a model as it stands in a TaskDef.

    Args:
        model: A pydantic model.
        allow_extra: Whether its objects are open to fields that it does not declare.

    Raises:
        TaskDefinitionError: The schema refers to definitions that it lacks, or is too large.
        pydantic.PydanticInvalidForJsonSchema: A field has a type without a JSON Schema.

    """
    from pydantic_core import from_json, to_json

    raw = to_json(model_schema(model), inf_nan_mode="constants")
    document: dict[str, Any] = from_json(transform_schema(raw, allow_extra=allow_extra))
    return document


def _warn_of_budget(findings: bytes) -> None:
    import warnings

    from pydantic_core import from_json

    for finding in from_json(findings):
        if finding["code"] == "PERAGO-BUDGET-EXCEEDS-LEASE":
            warnings.warn(finding["message"], UserWarning, stacklevel=4)
