"""The same task in Python and in Rust: what Conductor is told, and what an operator sees, is the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.command import environment, perago_command
from support.conductor import Conductor
from support.rust import rust_program
from support.waiting import until
from support.worker import MODULES, Worker

from .conftest import Shared, new_task_name


class Languages(NamedTuple):
    """One worker a language, each with a task of its own name."""

    python: Shared
    rust: Shared

    def run(self, action: str, **params: object) -> list[dict[str, Any]]:
        """Run one action in both, at the same time; return the tasks as Conductor shows them."""
        runs = [(shared, shared.start(action, **params)) for shared in self]
        return [shared.conductor.wait_task(run) for shared, run in runs]


@pytest.fixture(scope="module")
def languages(conductor: Conductor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Languages]:
    python, rust = new_task_name(), new_task_name()
    conductor.define(python)
    conductor.define(rust)
    root = tmp_path_factory.mktemp("languages")
    program = rust_program("scenario")
    with (
        Worker(root / "python", conductor.url, python, "-j", "2") as one,
        Worker(root / "rust", conductor.url, rust, "-j", "2", program=program) as other,
    ):
        yield Languages(Shared(conductor, one, python), Shared(conductor, other, rust))


@pytest.mark.parametrize(
    ("action", "params", "status", "code"),
    [
        ("echo", {"text": "grüße", "number": 3}, "COMPLETED", None),
        ("echo", {"unknown": {"a": 1}}, "COMPLETED", None),
        ("echo", {"number": [1]}, "FAILED", "params_invalid"),
        ("echo", {"text": {"password": "hunter2"}}, "FAILED", "params_invalid"),
        ("failed", {"text": "not now"}, "FAILED", "task_failed"),
        ("terminal", {"text": "never"}, "FAILED_WITH_TERMINAL_ERROR", "task_terminal"),
        ("raise", {"text": "no such song"}, "FAILED", "body_raised"),
        ("raise", {"text": "z" * 600}, "FAILED", "body_raised"),
        ("nan", {}, "FAILED", "result_not_json"),
        ("large", {"number": 3 * 1024 * 1024 - 1024}, "COMPLETED", None),
        ("large", {"number": 3 * 1024 * 1024}, "FAILED_WITH_TERMINAL_ERROR", "result_too_large"),
        ("exit", {"number": 3}, "FAILED", "executor_exited"),
        ("_exit", {"number": 7}, "FAILED", "executor_exited"),
    ],
)
def test_outcomes(
    languages: Languages, action: str, params: dict[str, object], status: str, code: str | None
) -> None:
    python, rust = languages.run(action, **params)
    for key in ("status", "outputData", "reasonForIncompletion"):
        assert rust.get(key) == python.get(key), key
    assert rust["status"] == status
    if code is not None:
        failed = languages.rust.worker.wait_record("task_failed", task_id=rust["taskId"])
        assert failed["failure_code"] == code


def test_a_panic_is_a_failure_with_its_place(languages: Languages) -> None:
    task = languages.rust.run("panic", text="no such song")
    reason = str(task["reasonForIncompletion"])
    assert task["status"] == "FAILED"
    assert reason.startswith("the body panicked at ")
    assert reason.endswith(": no such song")
    assert "scenario.rs:" in reason
    failed = languages.rust.worker.wait_record("task_failed", task_id=task["taskId"])
    assert failed["failure_code"] == "body_raised"
    assert reason in failed["exception"]


def test_what_a_body_logs(languages: Languages) -> None:
    worker = languages.rust.worker
    task = languages.rust.run("log", text="T")
    of_task = {"task_id": task["taskId"]}
    until(lambda: worker.records("body_log", **of_task, message="no line end"), "the last line")
    for source, message in [
        ("stdout", "printed T"),
        ("stderr", "to stderr T"),
        ("stdout", "from a program T"),
        ("stderr", "its error T"),
    ]:
        assert worker.records("body_log", **of_task, source=source, message=message), (source, message)
    (logged,) = worker.records("body_log", **of_task, source="author")
    assert (logged["message"], logged["level"], logged["colour"]) == ("logged T", "WARNING", "blue")
    assert (logged["song"], logged["span"]) == (7, "render")
    logs = until(lambda: languages.rust.conductor.task_log(task), "the task's log")
    assert any("logged T" in line for line in logs)


@pytest.fixture(scope="module")
def bounded(conductor: Conductor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Languages]:
    """The task whose parameters have bounds of every kind."""
    python, rust = new_task_name(), new_task_name()
    root = tmp_path_factory.mktemp("bounded")
    program = rust_program("shapes")
    for task in (python, rust):
        conductor.define(task)
    with (
        Worker(root / "python", conductor.url, python, module="bounded") as one,
        Worker(root / "rust", conductor.url, rust, rust, program=program) as other,
    ):
        yield Languages(Shared(conductor, one, python), Shared(conductor, other, rust))


@pytest.mark.parametrize(
    ("params", "place", "code"),
    [
        ({}, None, None),
        ({"count": 9, "title": "töne", "tags": ["a", "b"], "track": {"kind": "stem"}}, None, None),
        ({"marks": [1, 2, 2, 1], "weights": {"a": 0}, "depth": None, "track": None}, None, None),
        ({"count": 0}, "count", "greater_than_equal"),
        ({"count": 10}, "count", "less_than_equal"),
        ({"count": None}, "count", "int_type"),
        ({"size": -1}, "size", "greater_than_equal"),
        ({"port": 65536}, "port", "less_than_equal"),
        ({"pan": -129}, "pan", "greater_than_equal"),
        ({"title": "übergroß"}, "title", "string_too_long"),
        ({"title": "A"}, "title", "string_pattern_mismatch"),
        ({"tags": ["a", ""]}, "tags.1", "string_too_short"),
        ({"tags": ["a", "b", "c"]}, "tags", "too_long"),
        ({"weights": {"left": -1}}, "weights.left", "greater_than_equal"),
        ({"weights": {"a": 1, "b": 1, "c": 1}}, "weights", "too_long"),
        ({"marks": [1, 2, 3]}, "marks", "too_long"),
        ({"codec": "mp3"}, "codec", "enum"),
        ({"depth": 2}, "depth", "greater_than_equal"),
        ({"track": {"gain": -60.5, "kind": "stem"}}, "track.gain", "greater_than_equal"),
        ({"track": {"gain": 12, "kind": "stem"}}, "track.gain", "less_than"),
        ({"track": {"gain": 0.3, "kind": "stem"}}, "track.gain", "multiple_of"),
        ({"track": {"kind": "mix"}}, "track.kind", "literal_error"),
        ({"track": {}}, "track.kind", "missing"),
        ({"depth": 0, "count": 0}, "count", "greater_than_equal]; params.depth: "),
    ],
)
def test_parameters_are_held_to_what_the_task_def_says(
    bounded: Languages, params: dict[str, object], place: str | None, code: str | None
) -> None:
    runs = [(shared, shared.conductor.start(shared.task, params)) for shared in bounded]
    python, rust = (shared.conductor.wait_task(run) for shared, run in runs)
    for key in ("status", "outputData", "reasonForIncompletion"):
        assert rust.get(key) == python.get(key), key
    if place is None:
        assert rust["status"] == "COMPLETED"
        return
    assert rust["status"] == "FAILED"
    assert rust["reasonForIncompletion"].startswith(f"params.{place}: ")
    assert f"[{code}" in rust["reasonForIncompletion"]
    failed = bounded.rust.worker.wait_record("task_failed", task_id=rust["taskId"])
    assert failed["failure_code"] == "params_invalid"


def test_bounded_parameters_have_one_task_def(tmp_path: Path) -> None:
    extracted = []
    programs = (
        [*perago_command(), "extract", "bounded"],
        [str(rust_program("shapes")), "extract", "suite.bounded"],
    )
    for number, command in enumerate(programs):
        path = tmp_path / f"{number}.json"
        subprocess.run(
            [*command, "-o", str(path)],
            cwd=MODULES,
            env=environment(tmp_path),
            check=True,
            capture_output=True,
        )
        extracted.append(json.loads(path.read_text(encoding="utf-8")))
    assert extracted[0] == extracted[1]


def test_a_pattern_that_cannot_be_judged_is_found_by_check(tmp_path: Path) -> None:
    command = [str(rust_program("shapes")), "check", "suite.unusable"]
    checked = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), check=False, capture_output=True, text=True
    )
    assert checked.returncode == 1
    assert 'pattern "^(?=a)" cannot be used: ' in checked.stderr
