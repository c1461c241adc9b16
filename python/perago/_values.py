"""Parameters in, results out: validation and serialisation with the rules of the contract.

What a result looks like in JSON is what the task's outputSchema says: see ``docs/adr/0003-result-shape.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from perago._json import non_finite_place

if TYPE_CHECKING:
    from perago.task import TaskDefinition


class ResultNotJsonError(ValueError):
    """JSON cannot hold a result; the text names the place and never a value."""

    code = "result_not_json"


def validate_params(task: TaskDefinition, params: object) -> BaseModel:
    """Validate parameters as pydantic validates Python objects.

    Raises:
        pydantic.ValidationError: They do not match the task's model.

    """
    return task.params_model.model_validate(params, extra="forbid" if task.strict_params else "ignore")


def result_data(task: TaskDefinition, value: object) -> dict[str, Any]:
    """Return a result as plain JSON data.

    Raises:
        pydantic.ValidationError: It does not match the task's model.
        ResultNotJsonError: JSON cannot hold it.

    """
    data, _ = _serialise(task, value)
    return data


def result_json(task: TaskDefinition, value: object) -> bytes:
    """Return a result as JSON.

    Raises:
        pydantic.ValidationError: It does not match the task's model.
        ResultNotJsonError: JSON cannot hold it.

    """
    _, document = _serialise(task, value)
    return document


def _serialise(task: TaskDefinition, value: object) -> tuple[dict[str, Any], bytes]:
    model = task.output_model
    validated = _validated(model, value)
    original = value if isinstance(value, model) else validated
    try:
        data = _plain(model, original, validated)
        document = to_json(data, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise ResultNotJsonError(f"result: {_why_not_json(error)}") from error
    # Pydantic writes NaN as null where a field may hold anything, so the place is looked for in Python's own
    # values;
    # that costs as much as writing, and is only done where the document can hide one.
    if b"null" in document or b"NaN" in document or b"Infinity" in document:
        values = model.__pydantic_serializer__.to_python(original, by_alias=True, warnings="none")
        place = non_finite_place(values, "result")
        if place is not None:
            raise ResultNotJsonError(f"{place}: NaN and infinity have no JSON form")
    return data, document


def _plain(model: type[BaseModel], original: BaseModel, validated: BaseModel) -> dict[str, Any]:
    """Write the value by the annotated model's schema, so that no field of a subclass leaks into it.

    The author's own object is written, because validation makes a copy without private attributes. Only where
    its
    content is not of the declared types (it was built without validation) is the converted copy written.
    """
    serializer = model.__pydantic_serializer__
    try:
        data = serializer.to_python(original, mode="json", by_alias=True, warnings="error")
    except PydanticSerializationError:
        if validated is original:
            raise
        data = serializer.to_python(validated, mode="json", by_alias=True, warnings="error")
    if not isinstance(data, dict):
        raise TypeError(f"{model.__name__} is not written as a JSON object")
    return data


def _validated(model: type[BaseModel], value: object) -> BaseModel:
    if isinstance(value, model):
        return _revalidated(model, value, ())
    if isinstance(value, BaseModel):
        value = value.model_dump()
    return model.model_validate(value, extra="forbid")


def _revalidated(model: type[BaseModel], value: BaseModel, place: tuple[int | str, ...]) -> BaseModel:
    """Validate an instance and those inside it again: one may be changed or built without validation."""
    fields = {
        name: _revalidated_inside(getattr(value, name), (*place, name))
        for name in model.model_fields
        if name in value.__dict__
    }
    try:
        return model.model_validate(fields, extra="ignore", by_alias=False, by_name=True)
    except ValidationError as error:
        if not place:
            raise
        raise _moved(error, place) from error


def _revalidated_inside(value: Any, place: tuple[int | str, ...]) -> Any:
    if isinstance(value, BaseModel):
        if value.__pydantic_root_model__:
            return value
        return _revalidated(type(value), value, place)
    if type(value) is list:
        return [_revalidated_inside(item, (*place, index)) for index, item in enumerate(value)]
    if type(value) is tuple:
        return tuple(_revalidated_inside(item, (*place, index)) for index, item in enumerate(value))
    if type(value) is dict:
        return {key: _revalidated_inside(item, (*place, str(key))) for key, item in value.items()}
    return value


def _moved(error: ValidationError, place: tuple[int | str, ...]) -> ValidationError:
    """Return the same error with its places below ``place``."""
    from pydantic_core import PydanticCustomError

    details: list[Any] = [
        {
            # The finished text may hold braces, which a template would take for its own.
            "type": PydanticCustomError(detail["type"], "{text}", {"text": detail["msg"]}),
            "loc": (*place, *detail["loc"]),
            "input": None,
        }
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return ValidationError.from_exception_data(error.title, details)


def _why_not_json(error: Exception) -> str:
    """Return why a value has no JSON form; the serialiser quotes values after ``[``."""
    if isinstance(error, PydanticSerializationError):
        text = " ".join(str(error).split())
        return text.split("[", 1)[0].strip() or "not serialisable"
    if isinstance(error, RecursionError):
        return "refers to itself"
    return "text that is not valid Unicode" if isinstance(error, UnicodeError) else type(error).__name__
