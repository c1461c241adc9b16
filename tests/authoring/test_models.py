"""Control models, workspace references, guardrails and staging names."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from perago import (
    ExecutionLimits,
    GuardrailViolation,
    MetricSpec,
    PostGuardrailViolation,
    PreGuardrailViolation,
    PublishBudget,
    RetryPolicy,
    TaskControls,
    TaskDefinitionError,
    TimeoutPolicy,
    WorkspaceInput,
    WorkspaceOutput,
    WorkspaceSpec,
    check_guardrails,
    forbid_glob,
    require_dir,
    require_file,
    require_glob,
    staging_branch_name,
)
from perago.guards import _WorkspaceGuardrail

BUDGET: dict[str, Any] = {
    "observed_merge_p99_seconds": 20,
    "safety_margin_seconds": 10,
    "lakefs_merge_timeout_seconds": 30,
    "conductor_completion_timeout_seconds": 15,
    "worker_shutdown_grace_seconds": 30,
    "heartbeat_interval_seconds": 10,
}


def test_defaults() -> None:
    controls = TaskControls()
    assert controls.retry.model_dump() == {
        "count": 3,
        "logic": "FIXED",
        "delay_seconds": 60,
        "max_delay_seconds": 0,
        "jitter_ms": 0,
    }
    assert controls.timeout.model_dump() == {
        "policy": "TIME_OUT_WF",
        "seconds": 0,
        "response_seconds": 600,
        "poll_seconds": 0,
        "total_seconds": 0,
    }
    assert set(controls.limits.model_dump().values()) == {None}
    assert controls.publish_budget is None
    assert set(MetricSpec().model_dump().values()) == {True}
    assert WorkspaceSpec().model_dump() == {
        "prefix": "/",
        "pre": [],
        "post": [],
        "read_only": False,
        "on_moved_head": "fail",
    }


@pytest.mark.parametrize(("given_value", "wanted"), [("3", 3), (3.0, 3), (True, 1)])
def test_integers_are_lax(given_value: Any, wanted: int) -> None:
    assert RetryPolicy(count=given_value).count == wanted


@pytest.mark.parametrize(
    ("model", "fields", "keyword"),
    [
        (RetryPolicy, {"count": 3.5}, "fractional part"),
        (RetryPolicy, {"count": 11}, "less than or equal to 10"),
        (RetryPolicy, {"count": -1}, "greater than or equal to 0"),
        (RetryPolicy, {"logic": "fixed"}, "FIXED"),
        (RetryPolicy, {"retries": 1}, "Extra inputs"),
        (TimeoutPolicy, {"policy": "time_out_wf"}, "TIME_OUT_WF"),
        (TimeoutPolicy, {"response_seconds": -1}, "greater than or equal to 0"),
        (ExecutionLimits, {"rate_limit_per_frequency": 1}, "must be configured together"),
        (ExecutionLimits, {"concurrent_exec_limit": -1}, "greater than or equal to 0"),
        (PublishBudget, {}, "observed_merge_p99_seconds"),
        (PublishBudget, {**BUDGET, "heartbeat_interval_seconds": 0}, "greater than or equal to 1"),
        (
            PublishBudget,
            {**BUDGET, "lakefs_merge_timeout_seconds": 29},
            "lakefs_merge_timeout_seconds must be >= observed_merge_p99_seconds",
        ),
        (TaskControls, {"retry": {"count": 11}}, "less than or equal to 10"),
        (MetricSpec, {"attempt": True}, "Extra inputs"),
        (MetricSpec, {"buckets": {"calls": [1, "2"]}}, "valid number"),
        (MetricSpec, {"buckets": {"calls": [True]}}, "valid number"),
        (MetricSpec, {"buckets": {"calls": [1.0, math.inf]}}, "finite number"),
        (MetricSpec, {"buckets": {"calls": 1}}, "valid list"),
        (MetricSpec, {"buckets": {1: [1.0]}}, "valid string"),
        (WorkspaceSpec, {"prefix": "a\\b"}, "must use '/'"),
        (WorkspaceSpec, {"prefix": ""}, "must not be empty"),
        (WorkspaceSpec, {"prefix": "  "}, "must not be empty"),
        (WorkspaceSpec, {"prefix": "//"}, "must not be empty"),
        (WorkspaceSpec, {"prefix": "a/"}, "must stay inside"),
        (WorkspaceSpec, {"prefix": "a//b"}, "must stay inside"),
        (WorkspaceSpec, {"prefix": "../a"}, "must stay inside"),
        (WorkspaceSpec, {"pre": ["a"]}, "_WorkspaceGuardrail"),
    ],
)
def test_rejected_fields(model: Any, fields: dict[str, Any], keyword: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model(**fields)
    assert keyword in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [
        ("/", "/"),
        (" / ", "/"),
        ("//a", "a"),
        (" /audio/render ", "audio/render"),
        ("C:/x", "C:/x"),
        ("a b", "a b"),
    ],
)
def test_prefixes_are_normalised(prefix: str, wanted: str) -> None:
    assert WorkspaceSpec(prefix=prefix).prefix == wanted


def test_budgets_and_leases() -> None:
    budget = PublishBudget(**BUDGET)
    assert budget.response_timeout_seconds == 85
    controls = TaskControls(retry={"count": 1}, publish_budget=BUDGET)  # type: ignore[arg-type]
    assert (controls.retry.count, controls.publish_budget) == (1, budget)
    assert controls.response_timeout_seconds == 600


def test_a_spec_without_buckets_is_as_ever() -> None:
    spec = MetricSpec()
    assert spec.model_dump_json() == '{"attempts":true,"workspace_io":true,"worker_capacity":true}'
    assert repr(spec) == "MetricSpec(attempts=True, workspace_io=True, worker_capacity=True)"
    assert (spec, hash(spec)) == (MetricSpec(), hash(MetricSpec()))


def test_buckets_are_part_of_a_spec() -> None:
    spec = MetricSpec(buckets={"calls": [1, 2.5]})
    assert spec.model_dump()["buckets"] == {"calls": [1.0, 2.5]}
    assert "buckets={'calls': [1.0, 2.5]}" in repr(spec)
    assert (spec, hash(spec)) == (MetricSpec(buckets={"calls": [1, 2.5]}), hash(spec))
    assert spec != MetricSpec()


def test_frozen_models_cannot_be_changed() -> None:
    for model, field in (
        (MetricSpec(), "attempts"),
        (WorkspaceSpec(), "prefix"),
        (PublishBudget(**BUDGET), "safety_margin_seconds"),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, 1)
    retry = RetryPolicy()
    retry.count = 5
    assert retry.count == 5


@pytest.mark.parametrize("build", [require_file, require_dir, require_glob, forbid_glob])
@pytest.mark.parametrize(
    ("path", "keyword"),
    [
        ("a\\b", "must use '/'"),
        ("/a", "must be relative"),
        ("C:/x", "drive-qualified"),
        ("a:b", "drive-qualified"),
        ("", "must be relative"),
        ("a//b", "must be relative .* '..'"),
        ("a/../b", "must be relative .* '..'"),
        ("./a", "must be relative .* '..'"),
        (PureWindowsPath("C:/x"), "drive-qualified or absolute"),
        (PureWindowsPath("/x"), "drive-qualified or absolute"),
        (PurePosixPath("/x"), "absolute"),
        (Path(), "must not be empty"),
    ],
)
def test_rejected_guardrail_paths(build: Any, path: Any, keyword: str) -> None:
    with pytest.raises(TaskDefinitionError, match=keyword):
        build(path)


def test_guardrail_paths_of_other_kinds() -> None:
    assert require_file(PureWindowsPath("a\\b")).path == "a/b"
    assert require_file(Path("a/b")).path == "a/b"
    for wrong in (b"a", 5):
        with pytest.raises(TypeError):
            require_file(wrong)  # type: ignore[arg-type]


@given(st.text(alphabet="ab./\\:* ä", max_size=12))
def test_accepted_paths_stay_inside(path: str) -> None:
    try:
        accepted = require_glob(path).path
    except TaskDefinitionError:
        return
    assert accepted == path
    root = Path("/workspace")
    resolved = Path(root, *PurePosixPath(accepted).parts)
    assert root in resolved.parents
    assert ".." not in resolved.parts


def test_counts() -> None:
    assert require_glob("a", min_count=None).min_count == 1
    assert require_glob("a").max_count is None
    with pytest.raises(ValidationError, match="min_count must be <= max_count"):
        require_glob("a", min_count=3, max_count=2)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        require_glob("a", min_count=-1)
    for kind in ("require_file", "require_dir"):
        with pytest.raises(ValidationError, match="does not accept count bounds"):
            _WorkspaceGuardrail(kind=kind, path="a", min_count=1)
    assert not hasattr(_WorkspaceGuardrail(kind="forbid_glob", path="a", other=1), "other")  # type: ignore[call-arg]


def test_guardrails_are_checked_in_order(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").touch()
    (tmp_path / "in" / "b.txt").touch()
    check_guardrails(tmp_path, [require_file("in/a.txt"), require_dir("in"), require_glob("in/*")], "pre")
    for guardrail, text in (
        (require_file("in"), "pre guardrail require_file('in') did not find a file"),
        (require_dir("in/a.txt"), "pre guardrail require_dir('in/a.txt') did not find a directory"),
        (require_glob("*.x"), "pre guardrail require_glob('*.x') matched 0 files; min_count=1"),
        (
            require_glob("in/*", max_count=1),
            "pre guardrail require_glob('in/*') matched 2 files; max_count=1",
        ),
        (forbid_glob("in/*"), "pre guardrail forbid_glob('in/*') matched 2 files"),
    ):
        with pytest.raises(PreGuardrailViolation) as caught:
            check_guardrails(tmp_path, [guardrail, require_file("missing")], "pre")
        assert str(caught.value) == text
    with pytest.raises(PostGuardrailViolation):
        check_guardrails(tmp_path, [require_file("missing")], "post")
    with pytest.raises(GuardrailViolation, match=r"^mid guardrail"):
        check_guardrails(tmp_path, [require_file("missing")], "mid")


def test_workspace_references() -> None:
    fields: dict[str, Any] = {"repository": "r", "branch": "main", "refType": "commit", "ref": "abc"}
    output = WorkspaceInput(**fields).published_output("def")
    assert output == WorkspaceOutput(**{**fields, "ref": "def"})
    assert not isinstance(output, WorkspaceInput)
    for change, keyword in (
        ({"ref": ""}, "at least 1"),
        ({"branch": " "}, "must not be blank"),
        ({"refType": "branch"}, "commit"),
        ({"ref_type": "commit"}, "Extra inputs"),
    ):
        with pytest.raises(ValidationError, match=keyword):
            WorkspaceInput(**{**fields, **change})


def test_staging_branch_names() -> None:
    attempt = SimpleNamespace(
        workflow_instance_id="wf 1",
        reference_task_name="mix",
        seq=2,
        iteration=0,
        task_id="_t_",
        retry_count=1,
    )
    name = staging_branch_name(attempt, execution_id="e/1")
    assert name == "perago-staging-wf-1-mix-seq-2-iteration-0-task-id-t-retry-1-exec-e-1"
    assert staging_branch_name(attempt) != staging_branch_name(attempt)
    attempt.execution_id = "own"
    assert staging_branch_name(attempt).endswith("-exec-own")
    del attempt.seq
    with pytest.raises(AttributeError, match="missing required attribute seq"):
        staging_branch_name(attempt)
