"""What a check finds in an author's module, and the description of its task.

Runs in a child process of ``perago check``, ``extract`` and ``start``, because importing a module runs its
code.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from perago._collector import Collector
from perago._tracebacks import author_place_of, format_author_exception
from perago.errors import TaskDefinitionError

if TYPE_CHECKING:
    from perago.task import TaskDefinition

# What perago 0.6 installed for its own use, by the name of the package.
_FORMERLY_INSTALLED = {
    "conductor": "conductor-python",
    "lakefs": "lakefs",
    "lakefs_sdk": "lakefs",
    "loguru": "loguru",
    "opentelemetry": "opentelemetry-sdk",
    "pytest": "pytest",
    "typer": "typer",
}

__all__ = ["describe_and_load", "describe_module", "format_author_exception"]


def describe_module(module_target: str) -> dict[str, Any]:
    """Import a module and report everything that is wrong with it.

    Args:
        module_target: The module as Python imports it.

    Returns:
        ``task``: the description of the one declared task, or ``None`` when an error keeps it from running;
        ``findings``: the errors; ``warnings``: what has another effect than its author may expect. Rules of
        the
        contract that need no Python are checked by whoever reads the description.

    """
    from perago import _plugins

    _plugins.suspend()
    try:
        return describe_and_load(module_target)[0]
    finally:
        _plugins.restore()


def describe_and_load(module_target: str) -> tuple[dict[str, Any], TaskDefinition | None]:
    """Import a module, report as :func:`describe_module` does, and return its task too, if it can run."""
    with Collector() as collector:
        definition = _load(module_target, collector)
        task = None
        if definition is not None and not collector.has_error:
            task = _describe(definition, collector)
    errors = [finding for finding in collector.findings if finding["severity"] == "error"]
    warnings = [finding for finding in collector.findings if finding["severity"] != "error"]
    runnable = task is not None and not errors
    report = {"task": task if runnable else None, "findings": errors, "warnings": warnings}
    return report, definition if runnable else None


def _load(module_target: str, collector: Collector) -> TaskDefinition | None:
    from perago import _registry

    try:
        _registry.check_module_target(module_target)
    except TaskDefinitionError as error:
        collector.add(error.code, str(error), hint=error.hint)
        return None
    try:
        __import__(module_target)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _add_import_failure(error, module_target, collector)
        return None
    places = _registry.places(module_target)
    if len(places) > 1:
        lines = ", ".join(str(line) for _, line in places)
        collector.add(
            "PERAGO-MANY-TASKS",
            f"{module_target} declares more than one Perago task, on lines {lines}",
            hint="a worker runs one task; give each task a module of its own",
            place=places[1],
        )
        return None
    try:
        return _registry.only_task(module_target) if not collector.has_error else None
    except TaskDefinitionError as error:
        file = getattr(sys.modules[module_target], "__file__", None)
        collector.add(error.code, str(error), hint=error.hint, place=(file, None))
        return None


def _describe(definition: TaskDefinition, collector: Collector) -> dict[str, Any] | None:
    from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
    from pydantic_core import PydanticSerializationError, from_json, to_json

    from perago import _description

    code = definition.fn.__code__
    place = (code.co_filename, code.co_firstlineno)
    try:
        _description.refuse_root_models(definition)
        description = _description.describe(definition)
        description["description"] = from_json(to_json(description["description"]))
    except TaskDefinitionError as error:
        collector.add(error.code, str(error), hint=error.hint, place=place)
        return None
    except PydanticInvalidForJsonSchema as error:
        collector.add(
            "PERAGO-SCHEMA", _first_line(error), place=place, hint="use a type that JSON can describe"
        )
        return None
    except (PydanticUserError, NameError) as error:
        collector.add("PERAGO-SCHEMA", _first_line(error), place=place)
        return None
    except PydanticSerializationError:
        collector.add("PERAGO-DESCRIPTION", "description must be a string", place=place)
        return None
    warning = _description.config_warning(definition)
    if warning is not None:
        collector.add("PERAGO-CONFIG-DICT", warning, place=place, severity="warning")
    return description


def _add_import_failure(error: BaseException, module_target: str, collector: Collector) -> None:
    if isinstance(error, TaskDefinitionError):
        collector.add(error.code, str(error), hint=error.hint, place=author_place_of(error))
        return
    text = f"{type(error).__name__}: {_first_line(error)}".removesuffix(": ")
    if isinstance(error, SyntaxError):
        text = f"{type(error).__name__}: {error.msg}"
        collector.add("PERAGO-MODULE-SYNTAX", text, place=(error.filename, error.lineno))
        return
    if isinstance(error, ModuleNotFoundError) and error.name:
        if module_target == error.name or module_target.startswith(error.name + "."):
            collector.add(
                "PERAGO-MODULE-NOT-FOUND",
                text,
                hint="modules are found in PYTHONPATH, this Python's environment and the current directory",
            )
            return
        collector.add(
            "PERAGO-MODULE-IMPORT", text, hint=_missing_hint(error.name), place=author_place_of(error)
        )
        return
    if isinstance(error, SystemExit):
        text, hint = (
            "the module ended Python while it was imported",
            "run programs under `if __name__ == '__main__'`",
        )
        collector.add("PERAGO-MODULE-IMPORT", text, hint=hint, place=author_place_of(error))
        return
    collector.add("PERAGO-MODULE-IMPORT", text, place=author_place_of(error))


def _missing_hint(name: str) -> str:
    package = _FORMERLY_INSTALLED.get(name.partition(".")[0])
    if package is not None:
        return f"perago 0.6 installed {package} for its own use; now add it to your own dependencies"
    if name.startswith("perago."):
        return f"{name} belonged to the runtime of perago 0.6 and is not part of this version"
    return "install the package that has it into the environment of this Python"


def _first_line(error: BaseException) -> str:
    """Return the text of an exception without values of the input and without pydantic's link."""
    from perago._reasons import exception_reason, safe_text

    text = exception_reason(error) if safe_text(error) else ""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("For further information")]
    return " ".join(line for line in lines if line)
