"""The testing kit as authors have it: pytest as a process in a folder with nothing but their files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.command import environment

MODULE = """
from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, task


class CountParams(BaseModel):
    text: str


class CountResult(BaseModel):
    words: int


@task(name="text.count", owner_email="data@example.com", metrics=MetricSpec())
def count(params: CountParams, metrics: MetricRecorder) -> CountResult:
    words = params.text.split()
    with metrics.timer("split", labels={"kind": "plain"}):
        metrics.histogram("words", len(words), labels={"first": words[0]} if words else None)
    metrics.gauge("last length", len(params.text))
    return CountResult(words=len(words))
"""

HEAD = """
import pytest
from count_words import CountParams, CountResult, count
from perago.testing import InMemoryMetricRecorder, MetricContentWarning, RecordedMetricSample

"""


def run(folder: Path, tests: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "count_words.py").write_text(MODULE, encoding="utf-8")
    (folder / "test_count_words.py").write_text(HEAD + tests, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


USES = """
def test_samples(perago_metrics):
    assert count(CountParams(text="a b c"), perago_metrics) == CountResult(words=3)
    assert perago_metrics.values("words", labels={"first": "a"}) == [3]
    assert len(perago_metrics.values("split")) == 1
    assert isinstance(perago_metrics, InMemoryMetricRecorder)


def test_each_test_has_its_own(perago_metrics):
    assert perago_metrics.histograms == perago_metrics.gauges == []


@pytest.mark.perago_metrics(task_name="text.count")
def test_the_name_of_the_task(perago_metrics):
    perago_metrics.gauge("depth", 2)
    assert perago_metrics.gauges == [RecordedMetricSample("app.depth", 2, {"task_name": "text.count"})]
"""


def test_the_fixture_is_there_without_configuration(tmp_path: Path) -> None:
    done = run(tmp_path, USES, "--strict-markers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 1 warning" in done.stdout


def test_what_a_worker_would_drop_is_a_warning_of_the_test(tmp_path: Path) -> None:
    done = run(tmp_path, USES)
    assert "MetricContentWarning: a worker would not export this as written" in done.stdout
    assert "metric_name='last length', reason='invalid_name'" in done.stdout
    assert "test_count_words.py::test_samples" in done.stdout


def test_warnings_can_fail_a_suite(tmp_path: Path) -> None:
    done = run(tmp_path, USES, "-W", "error::perago.testing.MetricContentWarning")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 passed, 1 error" in done.stdout


def test_warnings_that_a_test_expects_are_cleared(tmp_path: Path) -> None:
    tests = """
def test_warnings(perago_metrics):
    count(CountParams(text="a"), perago_metrics)
    assert [warning["reason"] for warning in perago_metrics.warnings] == ["invalid_name"]
    perago_metrics.warnings.clear()
"""
    done = run(tmp_path, tests, "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr


def test_fixture_and_mark_are_listed(tmp_path: Path) -> None:
    shown = run(tmp_path, "", "--fixtures")
    assert "perago_metrics" in shown.stdout
    assert "perago_metrics(task_name)" in run(tmp_path, "", "--markers").stdout


def test_a_run_without_the_fixture_imports_nothing_of_it(tmp_path: Path) -> None:
    tests = """
import subprocess, sys

def test_nothing():
    program = "import pytest, sys, perago._pytest_plugin; sys.exit('perago.metrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
"""
    done = run(tmp_path, tests)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_of_the_kit_are_known(tmp_path: Path) -> None:
    typed = """
from perago.testing import InMemoryMetricRecorder


def test_types(perago_metrics: InMemoryMetricRecorder) -> None:
    values: list[float] = perago_metrics.values("words", labels={"a": "b"})
    dropped: dict[str, int] = perago_metrics.dropped
    assert (values, dropped) == ([], {})
"""
    (tmp_path / "test_typed.py").write_text(typed, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "test_typed.py"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
