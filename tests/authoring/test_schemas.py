"""TaskDefs and schemas."""

from __future__ import annotations

import json
import warnings
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Optional, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import VERSION as PYDANTIC_VERSION
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PlainSerializer, RootModel, computed_field

from perago import (
    PublishBudget,
    TaskControls,
    TaskDefinitionError,
    TimeoutPolicy,
    WorkspaceSpec,
    _native,
    build_taskdef,
    load_module_task,
    task,
    write_taskdef,
)
from perago._description import config_warning
from perago.taskdef import schema_for_model

EXAMPLES = Path(__file__).parent.parent / "fixtures" / "examples"


class Empty(BaseModel):
    pass


class Node(BaseModel):
    title: str = "x"
    children: list[Node] = []


class Holder(BaseModel):
    """Gone."""

    tree: Node
    other: Optional[Node] = Field(None, title="Gone", description="stays")  # noqa: UP045


class Names(BaseModel):
    title: str
    properties: Holder2


class Holder2(BaseModel):
    properties: dict[str, int] = Field({}, title="Gone")
    type: str = "object"


class Looks(BaseModel):
    free: dict[str, Any] = {"title": "T", "type": "object", "properties": {"a": 1}, "$ref": "#/$defs/X"}


class Kind(str, Enum):
    """An enum's text stays."""

    A = "a"


def definition(params: type[BaseModel], result: type[BaseModel] = Empty, **changes: Any) -> Any:
    def body(params: Any) -> Any:
        return None

    body.__annotations__ = {"params": params, "return": result}
    return task(**{"name": "demo.echo", "owner_email": "ops@example.com", **changes})(body).__perago_task__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("task_demo_mix", "demo.mix"),
        pytest.param(
            "task_demo_render",
            "demo.render",
            marks=pytest.mark.skipif(
                tuple(map(int, PYDANTIC_VERSION.split(".")[:2])) < (2, 14),
                reason="pydantic before 2.14 gives Decimal a pattern, which the expected file lacks",
            ),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:task demo.render")
def test_examples_are_byte_for_byte_the_expected_files(
    module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    declared = load_module_task(module)
    path = write_taskdef(declared, tmp_path / "new" / f"{name}.json")
    wanted = (EXAMPLES / f"{name}.taskdef.json").read_bytes()
    assert path.read_bytes() == wanted
    assert json.dumps(build_taskdef(declared), indent=2) + "\n" == wanted.decode()


def test_files_must_be_json_files(tmp_path: Path) -> None:
    declared = definition(Empty)
    with pytest.raises(ValueError, match="must be a JSON file path, for example"):
        write_taskdef(declared, tmp_path / "a.yaml")
    (tmp_path / "a.json").mkdir()
    with pytest.raises(ValueError, match="not a directory"):
        write_taskdef(declared, tmp_path / "a.json")


def test_recursive_models_keep_what_they_need() -> None:
    schema = schema_for_model(Node)
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert list(schema["$defs"]) == ["Node"]
    outer = schema_for_model(Holder, allow_extra=True)
    assert outer["properties"]["tree"] == {"$ref": "#/$defs/Node"}
    assert outer["properties"]["other"]["description"] == "stays"
    assert "title" not in outer["properties"]["other"]
    assert outer["$defs"]["Node"]["properties"]["title"] == {"default": "x", "type": "string"}
    data = build_taskdef(definition(Holder, Node))["outputSchema"]["data"]
    assert list(data["$defs"]) == ["Node"]
    assert "$defs" not in data["properties"]["result"]


def test_fields_may_have_the_names_of_keywords() -> None:
    schema = schema_for_model(Names)
    assert schema["properties"]["title"] == {"type": "string"}
    inner = schema["properties"]["properties"]
    assert inner["properties"]["properties"] == {
        "additionalProperties": {"type": "integer"},
        "default": {},
        "type": "object",
    }
    assert inner["additionalProperties"] is False


def test_defaults_that_look_like_schemas_stay() -> None:
    assert schema_for_model(Looks)["properties"]["free"]["default"] == Looks().free


def test_model_texts_go_and_enum_texts_stay() -> None:
    class Model(BaseModel):
        """Gone."""

        model_config = ConfigDict(title="Gone", json_schema_extra={"x": 1}, extra="allow")
        kind: Kind = Field(Kind.A, examples=["a"], json_schema_extra={"x-own": {"title": "stays"}})

    schema = schema_for_model(Model)
    assert set(schema) == {"properties", "type", "additionalProperties"}
    assert schema["additionalProperties"] is False
    assert schema["properties"]["kind"]["description"] == "An enum's text stays."
    assert schema["properties"]["kind"]["x-own"] == {"title": "stays"}


T = TypeVar("T")


class Numbers(RootModel[list[int]]):
    pass


class Box(BaseModel, Generic[T]):
    item: T


@pytest.mark.parametrize(
    "field",
    [Numbers, list[Numbers], Numbers | None, dict[str, Numbers], Box[Numbers], Annotated[Numbers, "x"]],
)
def test_root_models_are_refused_wherever_they_are(field: Any) -> None:
    model = type("Model", (BaseModel,), {"__annotations__": {"value": field}, "__module__": __name__})
    for declared in (definition(model), definition(Empty, model)):
        with pytest.raises(TaskDefinitionError, match=r"RootModel.*ordinary BaseModel object models"):
            build_taskdef(declared)
    with pytest.raises(TaskDefinitionError, match="RootModel"):
        build_taskdef(definition(Numbers))


def test_config_dicts_are_warned_about() -> None:
    class Configured(BaseModel):
        model_config = ConfigDict(frozen=True)

    class Outer(BaseModel):
        inner: list[Configured]

    assert config_warning(definition(Empty)) is None
    warning = config_warning(definition(Outer, Configured))
    assert warning is not None
    assert warning.startswith("Pydantic ConfigDict on task model(s) Configured is not part")


def test_numbers_that_json_cannot_hold_are_refused() -> None:
    class Model(BaseModel):
        ratio: float = float("nan")

    with pytest.raises(TaskDefinitionError, match=r"params\.properties\.ratio\.default"):
        build_taskdef(definition(Model))


def test_a_budget_beyond_the_lease_is_warned_about() -> None:
    def body(workspace: Path, params: Empty) -> Empty:
        return params

    budget = PublishBudget(
        observed_merge_p99_seconds=1,
        safety_margin_seconds=1,
        lakefs_merge_timeout_seconds=45,
        conductor_completion_timeout_seconds=15,
        worker_shutdown_grace_seconds=30,
        heartbeat_interval_seconds=10,
    )
    for read_only, lease, expected in ((False, 50, 1), (False, 100, 0), (True, 50, 0)):
        controls = TaskControls(timeout=TimeoutPolicy(response_seconds=lease), publish_budget=budget)
        declared = task(
            name="demo.echo",
            owner_email="o@e",
            workspace=WorkspaceSpec(read_only=read_only),
            controls=controls,
        )(body).__perago_task__  # type: ignore[attr-defined]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert build_taskdef(declared)["responseTimeoutSeconds"] == lease
        assert len(caught) == expected
        for warning in caught:
            assert "demo.echo" in str(warning.message)
            assert "TaskControls.timeout.response_seconds=50" in str(warning.message)
            assert "publish_budget.response_timeout_seconds=100" in str(warning.message)
            assert warning.filename == __file__


def test_the_result_schema_describes_what_is_written() -> None:
    class Aliased(BaseModel):
        file_count: int = Field(alias="fileCount")

    class Read(BaseModel):
        count: int = Field(validation_alias=AliasChoices("n", "count"))

    class Computed(BaseModel):
        a: int
        secret: str = Field(exclude=True)

        @computed_field  # type: ignore[prop-decorator]
        @property
        def double(self) -> int:
            return 2 * self.a

    class Custom(BaseModel):
        a: Annotated[int, PlainSerializer(lambda value: f"{value}", return_type=str)]

    def properties(model: type[BaseModel]) -> Any:
        result = build_taskdef(definition(Empty, model))["outputSchema"]["data"]["properties"]["result"]
        return list(result["properties"]), result.get("required", [])

    assert properties(Aliased) == (["fileCount"], ["fileCount"])
    assert properties(Read) == (["count"], ["count"])
    assert properties(Computed) == (["a", "double"], ["a", "double"])
    data = build_taskdef(definition(Empty, Custom))["outputSchema"]["data"]
    assert data["properties"]["result"]["properties"]["a"]["type"] == "string"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(json_values)
def test_json_text_is_that_of_python(value: Any) -> None:
    document = json.dumps(value).encode()
    assert _native.pretty_ascii_json(document) == json.dumps(value, indent=2) + "\n"
