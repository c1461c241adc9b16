"""Parameters in, results out: by hand and in an executor."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, computed_field, field_validator

from perago import (
    MetricRecorder,
    MetricSpec,
    TaskFailed,
    TaskInputError,
    TaskTerminalError,
    WorkspaceInput,
    WorkspaceSpec,
    build_workspace_free_task_output,
    build_workspace_task_output,
    invoke_workspace_free_task,
    invoke_workspace_task_body,
    run_workspace_free_task_attempt,
    task,
)
from perago._attempt import Runner
from perago.errors import PostGuardrailViolation, PreGuardrailViolation
from perago.metrics import InMemoryMetricRecorder
from perago.result import (
    RuntimeTaskResult,
    completed_result,
    failed_result,
    result_for_exception,
    terminal_failed_result,
)

SECRET = "s3cret-value"
WORKSPACE = {"repository": "r", "branch": "main", "refType": "commit", "ref": "abc"}


class Params(BaseModel):
    a: int = 1
    text: str = "x"


class Output(BaseModel):
    b: float = 0.0


def declare(
    body: Any, params: type[BaseModel] = Params, result: type[BaseModel] = Output, **changes: Any
) -> Any:
    names = body.__code__.co_varnames[: body.__code__.co_argcount]
    known = {"workspace": Path, "params": params, "metrics": MetricRecorder}
    body.__annotations__ = {**{name: known[name] for name in names}, "return": result}
    return task(**{"name": "demo.echo", "owner_email": "o@e", **changes})(body).__perago_task__


def returning(value: Any, result: type[BaseModel] = Output, **changes: Any) -> Any:
    def body(params: Any) -> Any:
        return value

    return declare(body, result=result, **changes)


def run(definition: Any, params: bytes = b"{}", **options: Any) -> tuple[str, Any, str]:
    return Runner(definition).run(params, None, **options)


def failing(error: BaseException) -> Any:
    def body(params: Any) -> Any:
        raise error

    return declare(body)


def test_a_body_gets_its_parameters_and_gives_its_result() -> None:
    def body(params: Any) -> Any:
        return Output(b=params.a / 2)

    definition = declare(body)
    assert run(definition, b'{"a": "3", "other": 1}') == ("COMPLETED", b'{"b":1.5}', "")
    assert invoke_workspace_free_task(definition, {"params": {"a": 3}, "other": 1}) == {"result": {"b": 1.5}}


def test_unknown_parameters_are_ignored_or_refused_at_every_level() -> None:
    class Inner(BaseModel):
        x: int

    class Outer(BaseModel):
        inner: Inner

    document = b'{"inner": {"x": 1, "y": 2}}'
    body = returning(Output()).fn
    assert run(declare(body, Outer), document)[0] == "COMPLETED"
    status, reason, code = run(declare(body, Outer, strict_params=True), document)
    assert (status, code) == ("FAILED", "params_invalid")
    assert reason == "params.inner.y: Extra inputs are not permitted [extra_forbidden]"


@pytest.mark.parametrize("document", [b"", b"{", b'{"a": NaN}', b'{"a": Infinity}'])
def test_parameters_must_be_json(document: bytes) -> None:
    assert run(returning(Output()), document) == ("FAILED", "params: not valid JSON", "input_invalid")


def test_coercion_is_that_of_python_objects() -> None:
    class Coerced(BaseModel):
        pair: tuple[int, str]
        text: str

    def body(params: Any) -> Any:
        assert params.pair == (1, "a")
        return Output()

    assert run(declare(body, Coerced), b'{"pair": ["1", "a"], "text": "t"}')[0] == "COMPLETED"
    assert run(declare(body, Coerced), b'{"pair": [1, "a"], "text": 5}')[2] == "params_invalid"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Picky(BaseModel):
    number: Optional[int] = None  # noqa: UP045
    short: Optional[str] = Field(None, max_length=2)  # noqa: UP045
    uuid: Optional[UUID] = None  # noqa: UP045
    pet: Optional[Annotated[Union[Cat, Dog], Field(discriminator="kind")]] = None  # noqa: UP007, UP045
    choice: Optional[Literal["a"]] = None  # noqa: UP045


@pytest.mark.parametrize(
    "params",
    [
        {"number": SECRET},
        {"short": SECRET},
        {"uuid": SECRET},
        {"pet": {"kind": SECRET}},
        {"choice": SECRET},
        {"number": [SECRET]},
    ],
)
def test_reasons_never_hold_values_of_the_input(params: dict[str, Any]) -> None:
    import json

    definition = declare(returning(Output()).fn, Picky)
    status, reason, code = run(definition, json.dumps(params).encode())
    assert (status, code) == ("FAILED", "params_invalid")
    assert reason.startswith(f"params.{next(iter(params))}")
    assert "s3cret" not in reason
    assert len(reason) < 200
    attempt = run_workspace_free_task_attempt(definition, {"params": params}, failure_reason_max_length=500)
    assert attempt.reason_for_incompletion == reason


@pytest.mark.parametrize(
    ("error", "status", "reason", "code"),
    [
        (TaskFailed("later"), "FAILED", "later", "task_failed"),
        (TaskTerminalError("never"), "FAILED_WITH_TERMINAL_ERROR", "never", "task_terminal"),
        (PreGuardrailViolation("pre"), "FAILED_WITH_TERMINAL_ERROR", "pre", "pre_guardrail"),
        (PostGuardrailViolation("post"), "FAILED", "post", "post_guardrail"),
        (RuntimeError("boom"), "FAILED", "boom", "body_raised"),
        (RuntimeError(), "FAILED", "RuntimeError", "body_raised"),
        (KeyError("k"), "FAILED", "'k'", "body_raised"),
        (ValueError("\ud800"), "FAILED", "?", "body_raised"),
    ],
)
def test_exceptions_of_bodies_are_classified(error: Exception, status: str, reason: str, code: str) -> None:
    told: list[str] = []
    assert run(failing(error), on_exception=told.append) == (status, reason, code)
    assert len(told) == 1
    assert "/perago/_attempt.py" not in told[0]
    assert "in body" in told[0]
    attempt = run_workspace_free_task_attempt(failing(error), {"params": {}}, failure_reason_max_length=500)
    assert attempt.conductor_payload() == {"status": status, "reasonForIncompletion": reason}
    assert result_for_exception(error, max_length=500) == attempt


def test_what_ends_a_process_ends_the_executor() -> None:
    for error in (SystemExit(3), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            run(failing(error))


def test_a_validation_error_inside_a_body_shows_no_values() -> None:
    def body(params: Any) -> Any:
        Params.model_validate({"a": SECRET})

    status, reason, code = run(declare(body))
    assert (status, code) == ("FAILED", "body_raised")
    assert reason.startswith("Params.a: Input should be a valid integer")
    assert SECRET not in reason


def test_validators_that_raise_are_told() -> None:
    class Raising(BaseModel):
        a: int

        @field_validator("a")
        @classmethod
        def _fail(cls, value: int) -> int:
            raise KeyError("lost")

    told: list[str] = []
    outcome = run(declare(returning(Output()).fn, Raising), b'{"a": 1}', on_exception=told.append)
    assert outcome == ("FAILED", "params: 'lost'", "params_invalid")
    assert "KeyError" in told[0]


class Aliased(BaseModel):
    file_count: int = Field(alias="fileCount")


class Computed(BaseModel):
    a: int
    hidden: str = Field(exclude=True)
    _factor: int = PrivateAttr(default=2)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def product(self) -> int:
        return self._factor * self.a


class Nested(BaseModel):
    items: list[Aliased]
    computed: Optional[Computed] = None  # noqa: UP045


class Extended(Output):
    more: int = 5


class Same(BaseModel):
    b: float


def computed(factor: int) -> Computed:
    value = Computed(a=3, hidden="h")
    value._factor = factor
    return value


@pytest.mark.parametrize(
    ("value", "model", "wanted"),
    [
        (Output(b=1), Output, {"b": 1.0}),
        ({"b": "2.5"}, Output, {"b": 2.5}),
        (Aliased(fileCount=2), Aliased, {"fileCount": 2}),
        ({"fileCount": 2}, Aliased, {"fileCount": 2}),
        (computed(7), Computed, {"a": 3, "product": 21}),
        (
            Nested(items=[Aliased(fileCount=1)], computed=computed(1)),
            Nested,
            {"items": [{"fileCount": 1}], "computed": {"a": 3, "product": 3}},
        ),
        (Extended(b=1, more=6), Output, {"b": 1.0}),
        (Same(b=4), Output, {"b": 4.0}),
        (Output.model_construct(b="3"), Output, {"b": 3.0}),
    ],
)
def test_results_are_written_as_the_schema_says(
    value: Any, model: type[BaseModel], wanted: dict[str, Any]
) -> None:
    import json

    from perago import build_taskdef

    definition = returning(value, model)
    status, document, _ = run(definition)
    assert status == "COMPLETED", document
    assert json.loads(document) == wanted
    assert build_workspace_free_task_output(definition, value) == {"result": wanted}
    schema = build_taskdef(definition)["outputSchema"]["data"]["properties"]["result"]
    assert set(wanted) <= set(schema["properties"])
    assert set(schema.get("required", [])) <= set(wanted)


@pytest.mark.parametrize(
    ("value", "model", "reason"),
    [
        (None, Output, "result: Input should be a valid dictionary or instance of Output [model_type]"),
        ({"b": 1, "c": SECRET}, Output, "result.c: Extra inputs are not permitted [extra_forbidden]"),
        (
            {"b": SECRET},
            Output,
            "result.b: Input should be a valid number, unable to parse string as a number [float_parsing]",
        ),
        (
            Output.model_construct(b=SECRET),
            Output,
            "result.b: Input should be a valid number, unable to parse string as a number [float_parsing]",
        ),
        (
            Nested.model_construct(items=[Aliased.model_construct(file_count=SECRET)]),
            Nested,
            "result.items.0.file_count: Input should be a valid integer, "
            "unable to parse string as an integer [int_parsing]",
        ),
    ],
)
def test_results_that_do_not_match_are_refused(value: Any, model: type[BaseModel], reason: str) -> None:
    assert run(returning(value, model)) == ("FAILED", reason, "result_invalid")
    with pytest.raises(ValidationError):
        build_workspace_free_task_output(returning(value, model), value)


class Free(BaseModel):
    rows: list[dict[str, Any]] = []
    price: Decimal = Decimal("1.5")


@pytest.mark.parametrize(
    ("value", "model", "reason"),
    [
        (Output(b=float("nan")), Output, "result.b: NaN and infinity have no JSON form"),
        (Free(rows=[{}, {"x": float("-inf")}]), Free, "result.rows.1.x: NaN and infinity have no JSON form"),
        (Free(rows=[{"x": object()}]), Free, "result: Unable to serialize unknown type: <class 'object'>"),
    ],
)
def test_results_that_json_cannot_hold_are_refused(value: Any, model: type[BaseModel], reason: str) -> None:
    assert run(returning(value, model)) == ("FAILED", reason, "result_not_json")


def test_text_that_looks_like_nan_is_text() -> None:
    document = b'{"rows":[{"NaN":"Infinity"}],"price":"1.5"}'
    assert run(returning(Free(rows=[{"NaN": "Infinity"}]), Free)) == ("COMPLETED", document, "")


def test_metrics_are_handed_over() -> None:
    def body(params: Any, metrics: Any) -> Any:
        metrics.histogram("rows", params.a)
        return Output()

    definition = declare(body, metrics=MetricSpec())
    with pytest.raises(TaskInputError, match="needs a MetricRecorder"):
        invoke_workspace_free_task(definition, {"params": {}})
    assert run(definition)[2] == "metrics_missing"
    invoke_workspace_free_task(definition, {"params": {}}, metrics=InMemoryMetricRecorder())


def test_workspace_bodies_get_their_directory(tmp_path: Path) -> None:
    def body(workspace: Any, params: Any) -> Any:
        return Output(b=len(list(workspace.iterdir())))

    (tmp_path / "a").touch()
    definition = declare(body, workspace=WorkspaceSpec())
    data = {"workspace": WORKSPACE, "params": {}, "other": 1}
    assert invoke_workspace_task_body(definition, data, tmp_path) == {"result": {"b": 1.0}}
    assert Runner(definition).run(b"{}", None, tmp_path) == ("COMPLETED", b'{"b":1.0}', "")
    output = build_workspace_task_output(definition, WorkspaceInput(**WORKSPACE), "def", Output())  # type: ignore[arg-type]
    assert output == {"workspace": {**WORKSPACE, "ref": "def"}, "result": {"b": 0.0}}
    with pytest.raises(TaskInputError, match="must contain workspace and params"):
        invoke_workspace_task_body(definition, {"params": {}}, tmp_path)
    with pytest.raises(ValidationError):
        invoke_workspace_task_body(definition, {**data, "workspace": {}}, tmp_path)


def test_each_helper_takes_its_own_kind_of_task(tmp_path: Path) -> None:
    def body(workspace: Any, params: Any) -> Any:
        return Output()

    plain, spaced = returning(Output()), declare(body, workspace=WorkspaceSpec())
    with pytest.raises(TaskInputError, match="only supports workspace-free tasks"):
        invoke_workspace_free_task(spaced, {"params": {}})
    with pytest.raises(TaskInputError, match="only supports workspace-free tasks"):
        run_workspace_free_task_attempt(spaced, {"params": {}}, failure_reason_max_length=5)
    with pytest.raises(TaskInputError, match="only supports workspace tasks"):
        invoke_workspace_task_body(plain, {"params": {}}, tmp_path)
    with pytest.raises(TaskInputError, match="workspace output"):
        build_workspace_task_output(plain, WorkspaceInput(**WORKSPACE), "def", Output())  # type: ignore[arg-type]
    with pytest.raises(TaskInputError, match="workspace-free output"):
        build_workspace_free_task_output(spaced, Output())


def test_attempts_by_hand_turn_failures_into_results(caplog: pytest.LogCaptureFixture) -> None:
    attempt = run_workspace_free_task_attempt(
        returning(Output()), {"params": {}}, failure_reason_max_length=5
    )
    assert attempt.conductor_payload() == {"status": "COMPLETED", "output": {"result": {"b": 0.0}}}
    missing = run_workspace_free_task_attempt(returning(Output()), {}, failure_reason_max_length=500)
    assert missing.reason_for_incompletion == "workspace-free task input must contain params"
    assert missing.status == "FAILED"
    with caplog.at_level(logging.WARNING, "perago"):
        cut = run_workspace_free_task_attempt(
            failing(ValueError("abcdefgh")), {"params": {}}, failure_reason_max_length=5
        )
    assert cut.reason_for_incompletion == "abcde"
    record = caplog.records[0]
    assert record.message == "truncated task failure reason"
    assert (record.original_length, record.max_length) == (8, 5)  # type: ignore[attr-defined]
    assert Runner(failing(ValueError("abcdefgh")), reason_max_length=5).run(b"{}", None)[1] == "abcde"


@pytest.mark.parametrize(
    ("fields", "keyword"),
    [
        ({"status": "COMPLETED"}, "require output"),
        ({"status": "COMPLETED", "output": {}, "reason_for_incompletion": "x"}, "must not include reason"),
        ({"status": "FAILED"}, "require reason"),
        ({"status": "FAILED", "reason_for_incompletion": "x", "output": {}}, "must not include output"),
        ({"status": "IN_PROGRESS"}, "COMPLETED"),
        ({"status": "COMPLETED", "output": {}, "other": 1}, "Extra inputs"),
    ],
)
def test_results_are_complete_or_failed(fields: dict[str, Any], keyword: str) -> None:
    with pytest.raises(ValidationError, match=keyword):
        RuntimeTaskResult(**fields)


def test_result_builders() -> None:
    assert completed_result({"result": 1}).conductor_payload() == {
        "status": "COMPLETED",
        "output": {"result": 1},
    }
    assert failed_result("why", max_length=2).conductor_payload() == {
        "status": "FAILED",
        "reasonForIncompletion": "wh",
    }
    assert terminal_failed_result("why", max_length=9).status == "FAILED_WITH_TERMINAL_ERROR"
