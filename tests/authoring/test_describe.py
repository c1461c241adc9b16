"""What a check finds in an author's module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from perago import TaskDefinitionError, WorkspaceSpec
from perago._describe import describe_and_load, describe_module

HEAD = """from pathlib import Path
from pydantic import BaseModel, Field
from perago import *
class P(BaseModel):
    a: int = 1
class R(BaseModel):
    b: int = 1
"""
GOOD = """@task(name="demo.echo", owner_email="o@e")
def echo(params: P) -> R:
    return R()
"""
GOOD_LINE = HEAD.count("\n") + 1


@pytest.fixture
def describe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def describe_source(source: str, name: str = "author_module") -> dict[str, Any]:
        (tmp_path / f"{name}.py").write_text(source)
        sys.modules.pop(name, None)
        names.append(name)
        return describe_module(name)

    # Cached byte code is checked by size and second, which two sources of one test may share.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield describe_source
    for name in names:
        sys.modules.pop(name, None)


def summary(report: dict[str, Any]) -> list[tuple[str, str, int | None]]:
    return [(finding["code"], finding["message"], finding["line"]) for finding in report["findings"]]


def test_a_good_module_has_a_description_and_no_findings(describe: Any, tmp_path: Path) -> None:
    report = describe(HEAD + GOOD)
    assert (report["findings"], report["warnings"]) == ([], [])
    task = report["task"]
    assert (task["name"], task["owner_email"], task["strict_params"]) == ("demo.echo", "o@e", False)
    assert task["source"] == {"file": str(tmp_path / "author_module.py"), "line": GOOD_LINE}
    assert task["params_schema"]["properties"]["a"]["type"] == "integer"
    assert (task["workspace"], task["metrics"]) == (None, None)


def test_the_loaded_task_can_run(describe: Any) -> None:
    describe(HEAD + GOOD)
    del sys.modules["author_module"]
    report, definition = describe_and_load("author_module")
    assert definition is not None
    assert definition.fn(definition.params_model()).b == 1
    assert report["task"]["name"] == "demo.echo"


def test_all_mistakes_of_a_declaration_are_found_at_once(describe: Any, tmp_path: Path) -> None:
    source = (
        HEAD
        + """
@task(
    name="a/b",
    owner_email="",
    color="red",
    workspace=WorkspaceSpec(prefix="../x", pre=[require_file("/"), require_glob("*", max_count=0)]),
    controls=TaskControls(
        retry=RetryPolicy(count=11, delay_seconds=-1),
        timeout={"response_seconds": -1},
    ),
    strict_params=1,
)
def body(params: dict, metrics: MetricRecorder) -> None:
    return None
"""
    )
    report = describe(source)
    assert report["task"] is None
    messages = " | ".join(finding["message"] for finding in report["findings"])
    for keyword in [
        "must be relative",
        "min_count must be <= max_count",
        "must stay inside",
        "RetryPolicy.count",
        "RetryPolicy.delay_seconds",
        "response_seconds",
        "unsupported task decorator fields: color",
        "path separators",
        "owner_email is required",
        "strict_params must be a bool",
        "must not declare workspace",
        "params must be annotated",
        "return value must be annotated",
    ]:
        assert keyword in messages, (keyword, messages)
    assert len(report["findings"]) == 13
    for finding in report["findings"]:
        assert finding["file"] == str(tmp_path / "author_module.py")
        assert GOOD_LINE < finding["line"] <= GOOD_LINE + 10


def test_elsewhere_the_first_mistake_raises(describe: Any) -> None:
    describe(HEAD + GOOD)
    with pytest.raises(TaskDefinitionError):
        exec("from perago import require_file\nrequire_file('/a')")
    with pytest.raises(ValueError, match="must stay inside"):
        WorkspaceSpec(prefix="..")


@pytest.mark.parametrize(
    ("source", "code", "message", "line", "hint"),
    [
        (
            "import loguru_missing_here\n",
            "PERAGO-MODULE-IMPORT",
            "ModuleNotFoundError: No module named 'loguru_missing_here'",
            1,
            "install the package",
        ),
        (
            "\nimport lakefs.client\n",
            "PERAGO-MODULE-IMPORT",
            "ModuleNotFoundError: No module named 'lakefs'",
            2,
            "perago 0.6 installed lakefs",
        ),
        (
            "from opentelemetry import metrics\n",
            "PERAGO-MODULE-IMPORT",
            "ModuleNotFoundError: No module named 'opentelemetry'",
            1,
            "perago 0.6 installed opentelemetry-sdk",
        ),
        (
            "from conductor.client import x\n",
            "PERAGO-MODULE-IMPORT",
            "ModuleNotFoundError: No module named 'conductor'",
            1,
            "perago 0.6 installed conductor-python",
        ),
        (
            "import perago.workspace\n",
            "PERAGO-MODULE-IMPORT",
            "ModuleNotFoundError: No module named 'perago.workspace'",
            1,
            "belonged to the runtime of perago 0.6",
        ),
        ("def f(:\n", "PERAGO-MODULE-SYNTAX", "SyntaxError: invalid syntax", 1, None),
        (
            "if True:\npass\n",
            "PERAGO-MODULE-SYNTAX",
            "IndentationError: expected an indented block after 'if' statement on line 1",
            2,
            None,
        ),
        ("def f():\n    return {}['k']\nf()\n", "PERAGO-MODULE-IMPORT", "KeyError: 'k'", 2, None),
        ("raise RuntimeError\n", "PERAGO-MODULE-IMPORT", "RuntimeError", 1, None),
        (
            "import sys\nsys.exit(3)\n",
            "PERAGO-MODULE-IMPORT",
            "the module ended Python while it was imported",
            2,
            "__main__",
        ),
        (
            "import json\njson.loads('')\n",
            "PERAGO-MODULE-IMPORT",
            "JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
            2,
            None,
        ),
        (
            HEAD,
            "PERAGO-NO-TASK",
            "author_module does not declare a Perago task",
            None,
            "decorate one function",
        ),
        (
            HEAD + GOOD + GOOD,
            "PERAGO-MANY-TASKS",
            f"author_module declares more than one Perago task, on lines {GOOD_LINE}, {GOOD_LINE + 3}",
            GOOD_LINE + 3,
            "a module of its own",
        ),
    ],
)
def test_one_mistake_is_one_finding(
    describe: Any, tmp_path: Path, source: str, code: str, message: str, line: int | None, hint: str | None
) -> None:
    report = describe(source)
    assert summary(report) == [(code, message, line)]
    finding = report["findings"][0]
    assert finding["file"] == str(tmp_path / "author_module.py")
    assert (hint in finding["hint"]) if hint else finding["hint"] is None
    assert report["task"] is None


def test_names_of_the_old_runtime_are_explained(describe: Any) -> None:
    [(code, message, line)] = summary(describe("from perago import StagedWorkspace\n"))
    assert (code, line) == ("PERAGO-MODULE-IMPORT", 1)
    assert message.startswith("ImportError: StagedWorkspace belonged to the runtime of perago 0.6")


@pytest.mark.parametrize("target", ["no_such_module", "no_such_package.module"])
def test_a_module_that_is_not_there(target: str) -> None:
    report = describe_module(target)
    [(code, message, line)] = summary(report)
    assert (code, line) == ("PERAGO-MODULE-NOT-FOUND", None)
    assert message == f"ModuleNotFoundError: No module named '{target.split('.')[0]}'"
    assert "current directory" in report["findings"][0]["hint"]


def test_a_target_that_is_no_module() -> None:
    assert summary(describe_module("a/b.py"))[0][0] == "PERAGO-MODULE-TARGET"


@pytest.mark.parametrize(
    ("fields", "code", "keyword"),
    [
        ("    root: Root", "PERAGO-ROOT-MODEL", "ordinary BaseModel object models"),
        ("    call: Callable[[], int]", "PERAGO-SCHEMA", "Cannot generate a JsonSchema"),
        ("    ratio: float = float('inf')", "PERAGO-SCHEMA-NOT-JSON", "params.properties.ratio.default"),
    ],
)
def test_models_without_a_schema(describe: Any, fields: str, code: str, keyword: str) -> None:
    source = (
        "from collections.abc import Callable\nfrom pydantic import RootModel\n"
        + HEAD
        + "class Root(RootModel[int]): pass\nclass P(BaseModel):\n"
        + fields
        + "\n"
        + GOOD
    )
    [(found, message, line)] = summary(describe(source))
    assert (found, line) == (code, source.count("\n") - 2)
    assert keyword in message
    assert "further information" not in message


def test_a_config_dict_is_a_warning(describe: Any) -> None:
    report = describe(HEAD + "class P(BaseModel, frozen=True):\n    a: int = 1\n" + GOOD)
    assert report["findings"] == []
    assert report["task"] is not None
    [warning] = report["warnings"]
    assert (warning["code"], warning["severity"]) == ("PERAGO-CONFIG-DICT", "warning")
    assert "task model(s) P is not part" in warning["message"]


def test_secrets_in_a_module_do_not_show(describe: Any) -> None:
    [(_, message, line)] = summary(describe(HEAD + "P(a='s3cret-value')\n"))
    assert message.startswith("ValidationError: P.a: Input should be a valid integer")
    assert "s3cret" not in message
    assert line == GOOD_LINE
