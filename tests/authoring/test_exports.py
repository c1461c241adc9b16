"""What can be imported from where, at what cost, and what is gone."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import perago
from perago import errors
from perago._removed import REMOVED


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", perago.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(perago, name) is not None
    assert name in dir(perago)


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys; import perago; names = sys.modules\n"
        "print([n for n in names if 'pydantic' in n or n == 'typing' or n.startswith('perago.')])"
    )
    assert run(code) == "[]"


def test_submodules_are_there_without_being_imported() -> None:
    assert run("import perago; print(perago.errors.TaskFailed('x').reason)") == "x"


@pytest.mark.parametrize("name", sorted(REMOVED))
def test_names_of_the_old_runtime_say_what_replaces_them(name: str) -> None:
    with pytest.raises(ImportError, match=f"{name} belonged to the runtime of perago 0.6.*instead: "):
        exec(f"from perago import {name}")
    assert name not in perago.__all__


def test_unknown_names_are_ordinary_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        perago.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name"):
        exec("from perago import WorkspaceGuardrail")
    with pytest.raises(ImportError, match=r"perago 0\.6"):
        exec("from perago.execution import run_workspace_task_attempt")


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_have_codes_and_survive_pickling(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("why")
    assert error.code
    assert error.hint is None
    assert str(error) == "why"
    if not issubclass(kind, errors.TaskExecutionError):
        error = kind("why", code="PERAGO-X", hint="do this")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.args, copy.code, copy.hint) == (error.args, error.code, error.hint)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("TaskDefinitionError", ValueError),
        ("RuntimeConfigError", ValueError),
        ("TaskInputError", ValueError),
        ("TaskExecutionError", RuntimeError),
        ("TaskFailed", errors.TaskExecutionError),
        ("TaskTerminalError", errors.TaskExecutionError),
        ("GuardrailViolation", RuntimeError),
        ("PreGuardrailViolation", errors.GuardrailViolation),
        ("PostGuardrailViolation", errors.GuardrailViolation),
        ("PublishFenceError", RuntimeError),
        ("StaleAttemptError", RuntimeError),
    ],
)
def test_errors_have_the_bases_that_authors_catch(name: str, base: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), base)


@pytest.mark.parametrize("kind", [errors.TaskExecutionError, errors.TaskFailed, errors.TaskTerminalError])
def test_reasons_are_text(kind: type[errors.TaskExecutionError]) -> None:
    error = kind("because")
    assert (error.reason, error.args) == ("because", ("because",))
    with pytest.raises(TypeError, match="reason must be str"):
        kind(5)  # type: ignore[arg-type]


def test_every_failure_code_of_the_facade_is_in_the_catalogue() -> None:
    from perago import _native

    catalogue = {code: terminal for code, terminal, hint in _native.failure_catalogue() if hint}
    for kind in (
        errors.TaskFailed,
        errors.TaskTerminalError,
        errors.PreGuardrailViolation,
        errors.PostGuardrailViolation,
        errors.PublishFenceError,
        errors.StaleAttemptError,
        errors.TaskInputError,
    ):
        assert kind.code in catalogue
    for code in ("body_raised", "params_invalid", "result_invalid", "result_not_json", "metrics_missing"):
        assert catalogue[code] is False
    assert catalogue["task_terminal"] is catalogue["pre_guardrail"] is True


def test_describing_a_module_does_not_look_for_plugins(tmp_path: Path) -> None:
    source = "from pydantic import BaseModel\nfrom perago import task\nclass M(BaseModel):\n    a: int\n"
    source += "@task(name='t', owner_email='o@e')\ndef f(params: M) -> M:\n    return params\n"
    (tmp_path / "described.py").write_text(source)
    code = f"import sys; sys.path.append({str(tmp_path)!r})\n"
    code += "from perago._describe import describe_module\n"
    code += "assert describe_module('described')['task'], 'no description'\n"
    code += "names = ('importlib.metadata', 'pydantic.plugin._loader', 'logging')\n"
    code += "print([n for n in names if n in sys.modules])\n"
    code += "from pydantic.plugin._loader import get_plugins, _plugins; print(get_plugins() is not None)\n"
    assert run(code) == "[]\nTrue"
