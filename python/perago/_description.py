"""A declared task as plain data for the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perago._models import ModelGraph
from perago.errors import TaskDefinitionError

if TYPE_CHECKING:
    from typing import Literal

    from pydantic import BaseModel

    from perago.task import TaskDefinition

_ESCAPED_REFERENCE = "\0$ref"


def describe(task: TaskDefinition) -> dict[str, Any]:
    """Return the description of a task: names, specs and raw JSON Schemas.

    Raises:
        TaskDefinitionError: A schema holds a number that JSON cannot hold.
        pydantic.PydanticInvalidForJsonSchema: A field has a type without a JSON Schema.

    """
    code = getattr(task.fn, "__code__", None)
    return {
        "name": task.name,
        "owner_email": task.owner_email,
        "description": task.description,
        "strict_params": task.strict_params,
        "workspace": None if task.workspace is None else task.workspace.model_dump(mode="json"),
        "metrics": None if task.metrics is None else task.metrics.model_dump(mode="json"),
        "controls": task.controls.model_dump(mode="json"),
        "params_schema": _finite("params", model_schema(task.params_model)),
        "result_schema": _finite("result", result_schema(task)),
        "source": None if code is None else {"file": code.co_filename, "line": code.co_firstlineno},
        "warnings": [],
    }


def description_json(task: TaskDefinition) -> bytes:
    """Return the description of a task as JSON."""
    from pydantic_core import to_json

    return to_json(describe(task))


def model_schema(
    model: type[BaseModel], *, mode: Literal["validation", "serialization"] = "validation"
) -> dict[str, Any]:
    """Return the JSON Schema of a model as pydantic makes it, with its defaults untouched.

    Pydantic takes ``$ref`` inside a default for a reference of the schema, so it does not get to see one.

    Raises:
        pydantic.PydanticInvalidForJsonSchema: A field has a type without a JSON Schema.

    """
    from pydantic.json_schema import GenerateJsonSchema

    escaped = False

    class Generator(GenerateJsonSchema):
        def encode_default(self, dft: Any) -> Any:
            nonlocal escaped
            default = super().encode_default(dft)
            hidden = _renamed_keys(default, "$ref", _ESCAPED_REFERENCE)
            escaped = escaped or hidden != default
            return hidden

    schema = model.model_json_schema(mode=mode, schema_generator=Generator)
    if escaped:
        schema = _renamed_keys(schema, _ESCAPED_REFERENCE, "$ref")
    return schema


def _renamed_keys(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {new if key == old else key: _renamed_keys(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed_keys(item, old, new) for item in value]
    return value


def result_schema(task: TaskDefinition) -> dict[str, Any]:
    """Return the JSON Schema of what a task's result looks like on the wire.

    It is the model's ordinary schema, except where the model is written in another shape than it is read
    (computed
    or excluded fields, serialisation aliases, custom serialisers): there it is the schema of what is written.
    """
    written = ModelGraph(task.output_model).writes_another_shape
    return model_schema(task.output_model, mode="serialization" if written else "validation")


def refuse_root_models(task: TaskDefinition) -> None:
    """Refuse root models anywhere in the models of a task.

    Raises:
        TaskDefinitionError: A model is a RootModel.

    """
    for role, model in (("params", task.params_model), ("result", task.output_model)):
        for found in ModelGraph(model).root_models:
            raise TaskDefinitionError(
                f"RootModel {found} in {role} is not supported; tasks take ordinary BaseModel object models",
                code="PERAGO-ROOT-MODEL",
                hint="put the value into a field of a BaseModel",
            )


def config_warning(task: TaskDefinition) -> str | None:
    """Return the warning on models with a ConfigDict of their own, if there are any."""
    names: dict[str, None] = {}
    for model in (task.params_model, task.output_model):
        names.update(dict.fromkeys(ModelGraph(model).configured_models))
    if not names:
        return None
    return (
        f"Pydantic ConfigDict on task model(s) {', '.join(names)} is not part of the Perago task contract; "
        "Perago does not guarantee TaskDef or runtime behavior for ConfigDict-configured task models."
    )


def _finite(role: str, schema: dict[str, Any]) -> dict[str, Any]:
    from perago._json import non_finite_place

    place = non_finite_place(schema, role)
    if place is not None:
        raise TaskDefinitionError(
            f"the schema of {place} holds a number that JSON cannot hold",
            code="PERAGO-SCHEMA-NOT-JSON",
            hint="use a finite default, bound or example",
        )
    return schema
