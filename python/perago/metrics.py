"""Recording metrics from a task body.

A body gets a `MetricRecorder` as its `metrics` parameter and uses its three methods. A worker passes the
native recorder; a test passes an `InMemoryMetricRecorder`, which follows the same rules.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perago import _native

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["InMemoryMetricRecorder", "MetricRecorder", "MetricTimer", "RecordedMetricSample"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class MetricTimer(Protocol):
    """Measures elapsed seconds: `with`, `async with`, or a decorator of a function, plain or `async`.

    One timer may be used again, inside itself, and by several threads and asyncio tasks at once. A decorated
    function is measured until it returns, a coroutine function until its coroutine ends, a generator from its
    first item to its end.
    """

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
MetricRecorder.register(_native.DisabledRecorder)


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
        copied = labels
        if labels is not None:
            # Labels that cannot be read are told about when the sample is dropped.
            with suppress(Exception):
                copied = dict(labels)
        return _InMemoryTimer(self, name, copied)

    def _warn(self, fields: dict[str, str]) -> None:
        self.warnings.append(fields)

    def _record(self, kind: str, name: str, value: float, labels: Mapping[str, str] | None) -> None:
        checked = self._rules.check(kind, name, value, labels)
        if checked is not None:
            samples = self.histograms if kind == "histogram" else self.gauges
            samples.append(RecordedMetricSample(*checked))


class _InMemoryTimer:
    def __init__(self, recorder: InMemoryMetricRecorder, name: str, labels: Mapping[str, str] | None) -> None:
        self._recorder = recorder
        self._name = name
        self._labels = labels
        self._open: list[tuple[tuple[int, int], float]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._open.append((_flow(), time.perf_counter()))

    def __exit__(self, *_exception: object) -> None:
        now, flow = time.perf_counter(), _flow()
        with self._lock:
            if not self._open:
                return
            own = [index for index, (entered, _) in enumerate(self._open) if entered == flow]
            _, started = self._open.pop(own[-1] if own else -1)
        self._recorder.histogram(self._name, now - started, labels=self._labels)

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


def _flow() -> tuple[int, int]:
    """Return what tells apart the flows of control that may use one timer: thread and asyncio task."""
    asyncio = sys.modules.get("asyncio")
    current_task = getattr(asyncio, "current_task", None)
    task = None
    if current_task is not None:
        # Raised where no event loop runs in this thread.
        with suppress(RuntimeError):
            task = current_task()
    return threading.get_ident(), 0 if task is None else id(task)


def _timed(timer: _RepeatableTimer, function: _Function) -> _Function:
    """Return `function` with each call measured by a timer of its own, so that calls may overlap."""
    if not callable(function):
        message = f"a timer decorates a function, not {type(function).__name__}"
        raise TypeError(message)
    # An object with an asynchronous `__call__` is as good as a function.
    called: Any = type(function).__call__
    wrapper: Any
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with timer._again():
                return await function(*args, **kwargs)

    elif inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(called):

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with timer._again():
                return (yield from function(*args, **kwargs))

    elif inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(called):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            with timer._again():
                delegate = function(*args, **kwargs)
                try:
                    item = await delegate.__anext__()
                    while True:
                        try:
                            sent = yield item
                        except GeneratorExit:
                            raise
                        except BaseException as error:
                            item = await delegate.athrow(error)
                        else:
                            item = await delegate.asend(sent)
                except StopAsyncIteration:
                    return
                finally:
                    await delegate.aclose()

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with timer._again():
                return function(*args, **kwargs)

    return wrapper  # type: ignore[no-any-return]
