"""What tests of task modules use: the recorder in memory, and the warning of the fixture `perago_metrics`.

The fixture comes with the package: pytest finds it by its entry point.
"""

from __future__ import annotations

from perago.metrics import InMemoryMetricRecorder, RecordedMetricSample

__all__ = ["InMemoryMetricRecorder", "MetricContentWarning", "RecordedMetricSample"]


class MetricContentWarning(UserWarning):
    """A body recorded something that a worker would drop or change; given at the end of a test."""
