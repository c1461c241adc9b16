"""The tasks that modules have declared in this process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from perago.errors import TaskDefinitionError

if TYPE_CHECKING:
    from perago.task import TaskDefinition

_PATH_HINT = "name the module as Python imports it, for example app.workers.features"


class _Declared:
    """What one execution of a module declared."""

    def __init__(self, namespace: object, spec: object) -> None:
        self.namespace = namespace
        self.spec = spec
        self.definitions: list[TaskDefinition] = []
        self.places: list[tuple[str, int]] = []


_modules: dict[str, _Declared] = {}


def register(definition: TaskDefinition) -> None:
    """Keep a definition for its function's module."""
    declared = _declared_by(definition.fn)
    declared.definitions.append(definition)
    declared.places.append(_place_of(definition.fn))


def register_broken(fn: Any) -> None:
    """Remember where a task stands whose declaration a check refused."""
    _declared_by(fn).places.append(_place_of(fn))


def places(module_target: str) -> list[tuple[str, int]]:
    """Return file and line of each declaration in a module."""
    declared = _current(module_target)
    return [] if declared is None else list(declared.places)


def load_module_task(module_target: str) -> TaskDefinition:
    """Import a module and return its one task.

    Args:
        module_target: The module as Python imports it, for example ``app.workers.features``.

    Raises:
        TaskDefinitionError: The target is no import path, or the module declares no task or more than one.
        ImportError: And whatever else the module raises while it is imported.

    """
    check_module_target(module_target)
    __import__(module_target)
    return only_task(module_target)


def check_module_target(module_target: str) -> None:
    """Refuse what is not a dotted import path.

    Raises:
        TaskDefinitionError: The target is a file path, an object path or empty.

    """
    parts = module_target.split(".")
    if (parts[-1] == "py" and len(parts) > 1) or not all(part.isidentifier() for part in parts):
        raise TaskDefinitionError(
            "module target must be a Python import path, not a file path or object path",
            code="PERAGO-MODULE-TARGET",
            hint=_PATH_HINT,
        )


def only_task(module_target: str) -> TaskDefinition:
    """Return the one task of an imported module.

    Raises:
        TaskDefinitionError: The module declares no task or more than one.

    """
    declared = _current(module_target)
    definitions = [] if declared is None else declared.definitions
    if not definitions:
        raise TaskDefinitionError(
            f"{module_target} does not declare a Perago task",
            code="PERAGO-NO-TASK",
            hint="decorate one function of this module with @task(...); imported tasks do not count",
        )
    if len(definitions) > 1:
        names = ", ".join(definition.name for definition in definitions)
        raise TaskDefinitionError(
            f"{module_target} declares more than one Perago task: {names}",
            code="PERAGO-MANY-TASKS",
            hint="a worker runs one task; give each task a module of its own",
        )
    return definitions[0]


def _current(module_target: str) -> _Declared | None:
    """Return what the module declared when it was last executed, which may be less than the time before."""
    declared = _modules.get(module_target)
    module = sys.modules.get(module_target)
    if declared is None or module is None:
        return None
    return declared if declared.namespace is module.__dict__ and declared.spec is module.__spec__ else None


def _declared_by(fn: Any) -> _Declared:
    """Return the record of the module's current execution; a reload starts a new one.

    The import system gives a module a new spec when it reloads it, and a new namespace when it imports it
    again.
    """
    name = fn.__module__
    namespace = getattr(fn, "__globals__", None)
    spec = getattr(sys.modules.get(name), "__spec__", None)
    declared = _modules.get(name)
    if declared is None or declared.namespace is not namespace or declared.spec is not spec:
        declared = _modules[name] = _Declared(namespace, spec)
    return declared


def _place_of(fn: Any) -> tuple[str, int]:
    code = getattr(fn, "__code__", None)
    return ("", 0) if code is None else (code.co_filename, code.co_firstlineno)
