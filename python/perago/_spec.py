"""The base of all models that authors declare tasks with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from perago._collector import active, author_place


class SpecModel(BaseModel):
    """A closed model; while a check runs, mistakes in it are collected instead of raised."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    if not TYPE_CHECKING:
        # Type checkers take the parameters from the fields, as for any pydantic model.
        def __init__(self, /, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                if active() is None:
                    raise
                self._collect(error, data)

    def _collect(self, error: ValidationError, data: dict[str, Any]) -> None:
        """Report each violation and go on with defaults in the place of what was refused."""
        from perago._reasons import describe_error

        collector = active()
        if collector is None:
            raise error
        place = author_place()
        refused = set()
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            refused.add(detail["loc"][0] if detail["loc"] else None)
            collector.add("PERAGO-SPEC", describe_error(error.title, detail), place=place)
        cls = type(self)
        usable = {key: value for key, value in data.items() if key in cls.model_fields and key not in refused}
        stand_in = cls.model_construct(**usable)
        object.__setattr__(self, "__dict__", stand_in.__dict__)
        object.__setattr__(self, "__pydantic_fields_set__", stand_in.__pydantic_fields_set__)
        object.__setattr__(self, "__pydantic_extra__", None)
        object.__setattr__(self, "__pydantic_private__", None)
