"""What an author's models are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel


class ModelGraph:
    """A model and every model that its fields can hold, in the order in which they are met."""

    def __init__(self, root: type[BaseModel]) -> None:
        self.models: list[type[BaseModel]] = []
        if not root.__pydantic_complete__:
            root.model_rebuild()
        for model in _models_in(root.__pydantic_core_schema__, root):
            if model not in self.models:
                self.models.append(model)

    @property
    def root_models(self) -> list[str]:
        """Names of the root models."""
        return [model.__name__ for model in self.models if model.__pydantic_root_model__]

    @property
    def configured_models(self) -> list[str]:
        """Names of the models with a ConfigDict of their own or of a base class."""
        return [model.__name__ for model in self.models if model.model_config]

    @property
    def writes_another_shape(self) -> bool:
        """Whether any model is written to JSON in another shape than it is read from it."""
        return any(_writes_another_shape(model) for model in self.models)


def _models_in(schema: Any, root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the classes of a core schema, depth first, which knows generics, containers and dataclasses."""
    yield root
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("type") == "model":
                yield node["cls"]
            waiting.extend(
                reversed([child for child in node.values() if isinstance(child, (dict, list, tuple))])
            )
        else:
            waiting.extend(reversed([child for child in node if isinstance(child, (dict, list, tuple))]))


def _writes_another_shape(model: type[BaseModel]) -> bool:
    decorators = model.__pydantic_decorators__
    if decorators.computed_fields or decorators.field_serializers or decorators.model_serializers:
        return True
    return any(
        bool(field.exclude)
        or (field.serialization_alias or name) != (field.validation_alias or name)
        or any(type(mark).__name__ in _SERIALISERS for mark in field.metadata)
        for name, field in model.model_fields.items()
    )


_SERIALISERS = frozenset({"PlainSerializer", "WrapSerializer"})
