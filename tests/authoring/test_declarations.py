"""Every accepted signature, and every rejection with its keyword."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, Optional

import pytest
from pydantic import BaseModel

import perago
from perago import (
    MetricRecorder,
    MetricSpec,
    PublishBudget,
    TaskControls,
    TaskDefinitionError,
    WorkspaceSpec,
    load_module_task,
    task,
)


class Params(BaseModel):
    a: int = 0


class Output(BaseModel):
    b: int = 0


class OwnRecorder(MetricRecorder):
    pass


BUDGET = PublishBudget(
    observed_merge_p99_seconds=1,
    safety_margin_seconds=1,
    lakefs_merge_timeout_seconds=2,
    conductor_completion_timeout_seconds=1,
    worker_shutdown_grace_seconds=1,
    heartbeat_interval_seconds=1,
)
WORKSPACE = {"workspace": WorkspaceSpec()}
METRICS = {"metrics": MetricSpec()}


def declare(fn: Any, **changes: Any) -> Any:
    return task(**{"name": "demo.echo", "owner_email": "ops@example.com", **changes})(fn)


def plain(params: Params) -> Output:
    return Output()


def with_metrics(params: Params, metrics: MetricRecorder) -> Output:
    return Output()


def with_workspace(workspace: Path, params: Params) -> Output:
    return Output()


def with_both(workspace: Path, params: Params, metrics: MetricRecorder) -> Output:
    return Output()


@pytest.mark.parametrize(
    ("fn", "specs"),
    [
        (plain, {}),
        (with_metrics, METRICS),
        (with_workspace, WORKSPACE),
        (with_both, {**WORKSPACE, **METRICS}),
    ],
)
def test_accepted_signatures(fn: Any, specs: dict[str, Any]) -> None:
    assert declare(fn, **specs) is fn
    definition = fn.__perago_task__
    assert (definition.name, definition.owner_email) == ("demo.echo", "ops@example.com")
    assert (definition.params_model, definition.output_model) == (Params, Output)
    assert definition.has_workspace is ("workspace" in specs)
    assert definition.controls == TaskControls()


@pytest.mark.parametrize(
    ("changes", "keyword"),
    [
        ({"zeta": 1, "alpha": 2}, "unsupported task decorator fields: alpha, zeta"),
        ({"name": " "}, "task name is required"),
        ({"name": None}, "task name is required"),
        ({"name": 5}, "must be a str"),
        ({"name": "a/b"}, "path separators"),
        ({"name": "a\\b"}, "path separators"),
        ({"owner_email": ""}, "owner_email is required"),
        ({"owner_email": None}, "owner_email is required"),
        ({"workspace": "/"}, "workspace must be a WorkspaceSpec"),
        ({"metrics": True}, "metrics must be a MetricSpec"),
        ({"controls": {}}, "controls must be a TaskControls"),
        ({"strict_params": 1}, "strict_params must be a bool"),
        ({"strict_params": None}, "strict_params must be a bool"),
        ({"controls": TaskControls(publish_budget=BUDGET)}, "publish_budget requires workspace"),
    ],
)
def test_rejected_declarations(changes: dict[str, Any], keyword: str) -> None:
    with pytest.raises(TaskDefinitionError, match=keyword.replace("\\", "\\\\")) as caught:
        declare(plain, **changes)
    assert caught.value.code.startswith("PERAGO-")


async def coroutine(params: Params) -> Output:
    return Output()


def variadic(*params: Params) -> Output:
    return Output()


def keywords(params: Params, **metrics: Any) -> Output:
    return Output()


def keyword_only(*, params: Params) -> Output:
    return Output()


def positional_only(params: Params, /) -> Output:
    return Output()


def defaulted(params: Params = Params()) -> Output:  # noqa: B008
    return Output()


def unresolvable(params: Missing) -> Output:  # type: ignore[name-defined] # noqa: F821
    return Output()


def none() -> Output:
    return Output()


def four(workspace: Path, params: Params, metrics: MetricRecorder, extra: int) -> Output:
    return Output()


def misnamed(p: Params) -> Output:
    return Output()


def swapped(params: Params, workspace: Path) -> Output:
    return Output()


def short_name(params: Params, m: MetricRecorder) -> Output:
    return Output()


def no_params(workspace: Path, metrics: MetricRecorder) -> Output:
    return Output()


def optional_workspace(workspace: Optional[Path], params: Params) -> Output:  # noqa: UP045
    return Output()


def bare_workspace(workspace, params: Params) -> Output:  # type: ignore[no-untyped-def]
    return Output()


def third(workspace: Path, params: Params, recorder: MetricRecorder) -> Output:
    return Output()


def own_recorder(params: Params, metrics: OwnRecorder) -> Output:
    return Output()


def bare_metrics(params: Params, metrics) -> Output:  # type: ignore[no-untyped-def]
    return Output()


def optional_params(params: Optional[Params]) -> Output:  # noqa: UP045
    return Output()


def dict_params(params: dict[str, int]) -> Output:
    return Output()


def none_result(params: Params) -> None:
    return None


def bare_result(params: Params):  # type: ignore[no-untyped-def]
    return Output()


@pytest.mark.parametrize(
    ("fn", "specs", "keyword"),
    [
        (coroutine, {}, "synchronous function"),
        (variadic, {}, "must not use"),
        (keywords, {}, "must not use"),
        (keyword_only, {}, "must not use"),
        (positional_only, {}, "must not use"),
        (defaulted, {}, "must not declare defaults"),
        (unresolvable, {}, "failed to resolve task type hints"),
        (none, {}, "must be exactly"),
        (four, {**WORKSPACE, **METRICS}, "must be exactly"),
        (misnamed, {}, "parameter must be named params"),
        (plain, WORKSPACE, "must not declare workspace"),
        (with_metrics, {**WORKSPACE, **METRICS}, "must not declare workspace"),
        (plain, METRICS, "requires a metrics parameter"),
        (with_workspace, {**WORKSPACE, **METRICS}, "requires a metrics parameter"),
        (swapped, WORKSPACE, "workspace task parameters must be named"),
        (short_name, METRICS, "workspace task parameters must be named"),
        (no_params, {**WORKSPACE, **METRICS}, "workspace task parameters must be named"),
        (optional_workspace, WORKSPACE, "pathlib.Path"),
        (bare_workspace, WORKSPACE, "pathlib.Path"),
        (with_workspace, {}, "require workspace=WorkspaceSpec"),
        (with_both, METRICS, "require workspace=WorkspaceSpec"),
        (third, {**WORKSPACE, **METRICS}, "must be named metrics"),
        (own_recorder, METRICS, "annotated as perago.MetricRecorder"),
        (bare_metrics, METRICS, "annotated as perago.MetricRecorder"),
        (with_metrics, {}, "metrics parameter requires metrics=MetricSpec"),
        (with_both, WORKSPACE, "metrics parameter requires metrics=MetricSpec"),
        (optional_params, {}, "params must be annotated"),
        (dict_params, {}, "params must be annotated"),
        (none_result, {}, "return value must be annotated"),
        (bare_result, {}, "return value must be annotated"),
    ],
)
def test_rejected_signatures(fn: Any, specs: dict[str, Any], keyword: str) -> None:
    with pytest.raises(TaskDefinitionError, match=keyword):
        declare(fn, **specs)


def test_checks_come_in_the_order_of_the_contract() -> None:
    with pytest.raises(TaskDefinitionError, match="unsupported"):
        task(name="", owner_email="", other=1)
    with pytest.raises(TaskDefinitionError, match="task name"):
        declare(coroutine, name="", owner_email="", strict_params=1)
    with pytest.raises(TaskDefinitionError, match="strict_params"):
        declare(coroutine, strict_params=1, controls=TaskControls(publish_budget=BUDGET))
    with pytest.raises(TaskDefinitionError, match="publish_budget"):
        declare(coroutine, controls=TaskControls(publish_budget=BUDGET))


def test_generators_and_odd_names_are_accepted() -> None:
    def generator(params: Params) -> Output:  # type: ignore[misc]
        yield 1

    generator.__annotations__ = {"params": Params, "return": Output}
    assert declare(generator, name=" spaced ").__perago_task__.name == " spaced "


def write_module(folder: Path, name: str, tasks: int) -> None:
    lines = ["from pydantic import BaseModel", "from perago import task", "class M(BaseModel): pass"]
    for index in range(tasks):
        lines += [
            f"@task(name='t{index}', owner_email='o@e')",
            f"def f{index}(params: M) -> M: return params",
        ]
    (folder / f"{name}.py").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("target", ["", "a/b", "a\\b", "a:b", "a.py", "a..b", ".a", "1a", "a b"])
def test_targets_must_be_import_paths(target: str) -> None:
    with pytest.raises(TaskDefinitionError, match="Python import path"):
        load_module_task(target)


def test_a_module_declares_exactly_one_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for tasks, keyword in ((0, "does not declare"), (2, "more than one")):
        write_module(tmp_path, f"declares_{tasks}", tasks)
        with pytest.raises(TaskDefinitionError, match=keyword):
            load_module_task(f"declares_{tasks}")
    write_module(tmp_path, "declares_1", 1)
    (tmp_path / "imports_one.py").write_text("from declares_1 import f0\n")
    assert load_module_task("declares_1").name == "t0"
    with pytest.raises(TaskDefinitionError, match="does not declare"):
        load_module_task("imports_one")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_module_task("no_such_module")


def test_a_reload_is_not_a_second_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path, "reloaded", 1)
    first = load_module_task("reloaded")
    importlib.reload(sys.modules["reloaded"])
    second = load_module_task("reloaded")
    assert second is not first
    del sys.modules["reloaded"]
    assert load_module_task("reloaded") is not second


def test_the_decorator_and_its_module_share_a_name() -> None:
    import importlib

    module = importlib.import_module("perago.task")
    assert isinstance(module, types.ModuleType)
    assert perago.task is module.task
    from perago.task import TaskDefinition
    from perago.task import task as decorator

    assert decorator is perago.task
    assert TaskDefinition is perago.TaskDefinition
