"""Recording metrics from a task body.

A body gets a `MetricRecorder` as its `metrics` parameter and uses its three methods. A worker passes the
native recorder; a test passes an `InMemoryMetricRecorder`, which follows the same rules.
"""

from __future__ import annotations

import functools
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perago import _native

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["InMemoryMetricRecorder", "MetricRecorder", "MetricTimer", "RecordedMetricSample"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class MetricTimer(Protocol):
    """Measures elapsed seconds: `with`, `async with`, or a decorator of a function, plain or `async`."""

    def __enter__(self) -> None:
        """Start measuring."""

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Record the seconds since the block was entered, also when it raised."""

    async def __aenter__(self) -> None:
        """Start measuring."""

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Record the seconds since the block was entered, also when it raised."""

    def __call__(self, function: _Function, /) -> _Function:
        """Return `function` with each of its calls measured."""


class MetricRecorder(ABC):
    """Records application metrics of one task; they are exported as `app.<name>` with the label `task_name`.

    Content never fails a task: a name, value or label that cannot be exported is dropped, counted and warned
    about. Only a call of the wrong shape raises `TypeError`.
    """

    __slots__ = ()

    @abstractmethod
    def histogram(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Add a value to a histogram.

        Args:
            name: The name without `app.`; letters, digits and `_.-/`.
            value: A number, not negative.
            labels: Further labels, of few distinct values each.

        """

    @abstractmethod
    def gauge(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Set a gauge; its latest value is exported.

        Args:
            name: The name without `app.`; letters, digits and `_.-/`.
            value: A number.
            labels: Further labels, of few distinct values each.

        """

    @abstractmethod
    def timer(self, name: str, *, labels: Mapping[str, str] | None = None) -> MetricTimer:
        """Return a context manager and decorator that adds seconds to the histogram of this very name.

        Args:
            name: The name without `app.`; nothing is appended to it.
            labels: Further labels, of few distinct values each.

        """


# Not a base class: a native method is found and called faster without one.
MetricRecorder.register(_native.Recorder)


@dataclass(frozen=True)
class RecordedMetricSample:
    """One sample as it would be exported."""

    name: str
    """The name with its prefix."""
    value: float
    """The value; for a timer, seconds."""
    labels: dict[str, str] = field(default_factory=dict)
    """All labels, `task_name` included."""


class InMemoryMetricRecorder(MetricRecorder):
    """Keeps the samples of a body under test in lists, by the rules that a worker's recorder follows.

    What the worker would drop is not kept; `warnings` and `dropped` say why. The pytest fixture
    `perago_metrics` makes one for each test.
    """

    def __init__(
        self,
        task_name: str = "task",
        *,
        warnings: list[dict[str, str]] | None = None,
        label_sets: int = 1000,
    ) -> None:
        """Make an empty recorder.

        Args:
            task_name: The value of the label `task_name`.
            warnings: A list to which the fields of each warning are added.
            label_sets: How many label sets have a series of their own, as in a worker; samples of further
                ones get the label `otel.metric.overflow`.

        """
        self.histograms: list[RecordedMetricSample] = []
        """The samples of histograms and timers, in order."""
        self.gauges: list[RecordedMetricSample] = []
        """The values that gauges were set to, in order."""
        self.warnings: list[dict[str, str]] = [] if warnings is None else warnings
        """The fields of each warning, in order."""
        self._rules = _native.MetricRules(task_name, label_sets=label_sets, warning=self._warn)

    @property
    def dropped(self) -> dict[str, int]:
        """How many samples or labels were dropped or changed, by reason."""
        return self._rules.dropped()

    def values(self, name: str, *, labels: Mapping[str, str] | None = None) -> list[float]:
        """Return the values of one metric, in order: its `len` is the count, its `sum` the sum.

        Args:
            name: The name as the body wrote it, without `app.`.
            labels: Labels that a sample must have; it may have more.

        """
        wanted = dict(labels or {}).items()
        return [
            sample.value
            for sample in (*self.histograms, *self.gauges)
            if sample.name == f"app.{name}" and wanted <= sample.labels.items()
        ]

    def histogram(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Add a value to `histograms`, unless the rules drop it."""
        self._record("histogram", name, value, labels)

    def gauge(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Add a value to `gauges`, unless the rules drop it."""
        self._record("gauge", name, value, labels)

    def timer(self, name: str, *, labels: Mapping[str, str] | None = None) -> MetricTimer:
        """Return a context manager and decorator that adds elapsed seconds to `histograms`."""
        _native.MetricRules.check_shape(name, labels)
        return _InMemoryTimer(self, name, None if labels is None else dict(labels))

    def _warn(self, fields: dict[str, str]) -> None:
        self.warnings.append(fields)

    def _record(self, kind: str, name: str, value: float, labels: Mapping[str, str] | None) -> None:
        checked = self._rules.check(kind, name, value, labels)
        if checked is not None:
            samples = self.histograms if kind == "histogram" else self.gauges
            samples.append(RecordedMetricSample(*checked))


class _InMemoryTimer:
    def __init__(self, recorder: InMemoryMetricRecorder, name: str, labels: dict[str, str] | None) -> None:
        self._recorder = recorder
        self._name = name
        self._labels = labels
        self._started: list[float] = []

    def __enter__(self) -> None:
        self._started.append(time.perf_counter())

    def __exit__(self, *_exception: object) -> None:
        if self._started:
            seconds = time.perf_counter() - self._started.pop()
            self._recorder.histogram(self._name, seconds, labels=self._labels)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *_exception: object) -> None:
        self.__exit__()

    def __call__(self, function: _Function) -> _Function:
        return _timed(self, function)

    def _again(self) -> _InMemoryTimer:
        return _InMemoryTimer(self._recorder, self._name, self._labels)


class _RepeatableTimer(Protocol):
    def _again(self) -> Any: ...


def _timed(timer: _RepeatableTimer, function: _Function) -> _Function:
    """Return `function` with each call measured by a timer of its own, so that calls may overlap."""
    if not callable(function):
        message = f"a timer decorates a function, not {type(function).__name__}"
        raise TypeError(message)
    wrapper: Any
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with timer._again():
                return await function(*args, **kwargs)

    elif inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with timer._again():
                return (yield from function(*args, **kwargs))

    elif inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with timer._again():
                async for item in function(*args, **kwargs):
                    yield item

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with timer._again():
                return function(*args, **kwargs)

    return wrapper  # type: ignore[no-any-return]
