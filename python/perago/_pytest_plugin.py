"""The pytest plugin of the package: the fixtures `perago_metrics` and `perago_services`.

Loaded by its entry point `perago`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from perago.metrics import InMemoryMetricRecorder
    from perago.testing import EmbeddedServices

_MARK = "perago_metrics"


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, so that `--strict-markers` accepts it."""
    config.addinivalue_line(
        "markers", f"{_MARK}(task_name): the label task_name of the recorder that the fixture {_MARK} makes"
    )


@pytest.fixture
def perago_metrics(request: pytest.FixtureRequest) -> Iterator[InMemoryMetricRecorder]:
    """Give a body under test a recorder that keeps samples by the rules of a worker's.

    The mark `perago_metrics(task_name="…")` sets the label `task_name`. What the recorder dropped or changed
    becomes a `perago.testing.MetricContentWarning` at the end of the test, unless the test has cleared
    `perago_metrics.warnings`.
    """
    # Every pytest run with Perago installed loads this file; only users of the fixture need the recorder.
    from perago.testing import InMemoryMetricRecorder, MetricContentWarning

    mark = request.node.get_closest_marker(_MARK)
    recorder = InMemoryMetricRecorder(*mark.args, **mark.kwargs) if mark else InMemoryMetricRecorder()
    yield recorder
    for fields in recorder.warnings:
        given = {name: value for name, value in fields.items() if value}
        text = ", ".join(f"{name}={value!r}" for name, value in given.items())
        warnings.warn(
            MetricContentWarning(f"a worker would not export this as written: {text}"), stacklevel=1
        )


@pytest.fixture
def perago_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServices]:
    """Give a test a Conductor, a lakeFS and a receiver of metrics, whose faults and time it scripts.

    They end with the test, and with them the workers that it has started.
    """
    from perago.testing import EmbeddedServices

    with EmbeddedServices(tmp_path_factory.mktemp("perago")) as services:
        yield services
