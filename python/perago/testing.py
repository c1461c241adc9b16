"""What tests of task modules use: recorders in memory, and services whose faults and time are scripted.

The fixtures `perago_metrics` and `perago_services` come with the package: pytest finds them by its entry
point.
"""

from __future__ import annotations

from perago import _native
from perago._kit.conductor import Conductor, HttpRefusedError, WorkflowRun
from perago._kit.faults import Faults, ScriptedFault
from perago._kit.repository import EmbeddedRepository
from perago._kit.services import EmbeddedServices
from perago._kit.waiting import until
from perago._kit.worker import WorkerProcess
from perago.metrics import InMemoryMetricRecorder, RecordedMetricSample

__all__ = [
    "KILL_POINTS",
    "Conductor",
    "EmbeddedRepository",
    "EmbeddedServices",
    "Faults",
    "HttpRefusedError",
    "InMemoryMetricRecorder",
    "MetricContentWarning",
    "RecordedMetricSample",
    "ScriptedFault",
    "WorkerProcess",
    "WorkflowRun",
    "until",
]

KILL_POINTS: tuple[str, ...] = tuple(_native.kill_points())
"""The points at which a worker or one of its executors can kill itself, in the order of an attempt."""


class MetricContentWarning(UserWarning):
    """A body recorded something that a worker would drop or change; given at the end of a test."""
