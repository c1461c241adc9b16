"""Timers, native and of the testing kit: nested, shared, around functions of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

from perago import _native
from perago.metrics import InMemoryMetricRecorder, MetricRecorder

SHORT_SECONDS = 0.02
# Longer than anything here takes by itself on a busy machine.
LONG_SECONDS = 1.0


class Measured:
    """A recorder and the histograms that it has filled."""

    def __init__(self, recorder: Any, read: Callable[[str], tuple[int, float]]) -> None:
        self.recorder: MetricRecorder = recorder
        self.read = read

    def count(self) -> int:
        """How many times were recorded under the name that these tests use."""
        return self.read("call")[0]

    def seconds(self) -> float:
        """Their sum."""
        return self.read("call")[1]


@pytest.fixture(params=["native", "memory"])
def measured(rig: Any, request: pytest.FixtureRequest) -> Measured:
    """Both recorders, one after the other."""
    if request.param == "native":
        return Measured(rig.recorder, lambda name: rig.count(f"app.{name}"))
    memory = InMemoryMetricRecorder()

    def read(name: str) -> tuple[int, float]:
        values = [sample.value for sample in memory.histograms if sample.name == f"app.{name}"]
        return len(values), sum(values)

    return Measured(memory, read)


def test_blocks_of_two_threads_do_not_mix(measured: Measured) -> None:
    timer = measured.recorder.timer("call")
    is_open, may_close = threading.Event(), threading.Event()

    def long() -> None:
        with timer:
            is_open.set()
            assert may_close.wait(30)

    thread = threading.Thread(target=long)
    thread.start()
    assert is_open.wait(30)
    with timer, timer:
        pass
    before = measured.seconds()
    assert measured.count() == 2
    threading.Event().wait(LONG_SECONDS)
    may_close.set()
    thread.join()
    assert measured.count() == 3
    assert before < LONG_SECONDS <= measured.seconds() - before


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_blocks_of_two_tasks_do_not_mix(measured: Measured, is_asynchronous: bool) -> None:
    timer = measured.recorder.timer("call")
    seen: list[float] = []

    async def block(leave: asyncio.Event, entered: asyncio.Event) -> None:
        if is_asynchronous:
            async with timer:
                entered.set()
                await leave.wait()
        else:
            with timer:
                entered.set()
                await leave.wait()
        seen.append(measured.seconds())

    async def main() -> None:
        events = [asyncio.Event() for _ in range(6)]
        first = asyncio.create_task(block(events[0], events[1]))
        await events[1].wait()
        await asyncio.sleep(LONG_SECONDS)
        second = asyncio.create_task(block(events[2], events[3]))
        await events[3].wait()
        # The one that began first is left first.
        events[0].set()
        await first
        # Entered anew while the second is open.
        third = asyncio.create_task(block(events[4], events[5]))
        await events[5].wait()
        events[2].set()
        await second
        events[4].set()
        await third

    asyncio.run(main())
    assert measured.count() == 3
    assert seen[0] >= LONG_SECONDS, "the first task's own time"
    assert seen[2] - seen[0] < LONG_SECONDS, "what the others measured did not begin with the first"


def test_a_timer_of_many_threads_counts_every_block(measured: Measured) -> None:
    timer = measured.recorder.timer("call")
    start = threading.Barrier(8)

    def record() -> None:
        start.wait(30)
        for _ in range(500):
            with timer, timer:
                pass

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count, seconds = measured.read("call")
    assert count == 8_000
    assert 0 < seconds < 600


def test_a_block_that_is_left_elsewhere_is_measured_once(measured: Measured) -> None:
    timer = measured.recorder.timer("call")
    timer.__enter__()
    timer.__enter__()
    for _ in range(3):
        thread = threading.Thread(target=timer.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
    assert measured.count() == 2


def test_a_coroutine_is_measured_until_it_ends(measured: Measured) -> None:
    @measured.recorder.timer("call")
    async def work() -> int:
        await asyncio.sleep(LONG_SECONDS)
        return 7

    async def main() -> list[int]:
        return list(await asyncio.gather(work(), work()))

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(main()) == [7, 7]
    assert measured.count() == 2
    assert measured.seconds() >= 2 * LONG_SECONDS * 0.9


def test_a_cancelled_coroutine_is_measured(measured: Measured) -> None:
    @measured.recorder.timer("call")
    async def work() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.wait_for(work(), SHORT_SECONDS)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    assert measured.count() == 1


def test_a_generator_is_measured_from_first_item_to_end(measured: Measured) -> None:
    @measured.recorder.timer("call")
    def items() -> Generator[int, str, str]:
        sent = []
        for number in range(3):
            try:
                sent.append((yield number))
            except KeyError:
                sent.append("caught")
        return ",".join(map(str, sent))

    generator = items()
    assert inspect.isgeneratorfunction(items)
    with pytest.raises(KeyError):
        measured.read("call") if isinstance(measured.recorder, _native.Recorder) else {}["call"]
    assert next(generator) == 0
    assert generator.send("a") == 1
    assert generator.throw(KeyError()) == 2
    with pytest.raises(StopIteration) as ended:
        generator.send("b")
    assert ended.value.value == "a,caught,b"
    assert measured.count() == 1
    closed = items()
    next(closed)
    closed.close()
    assert measured.count() == 2


def test_an_asynchronous_generator_is_passed_through(measured: Measured) -> None:
    ends: list[str] = []

    @measured.recorder.timer("call")
    async def items() -> AsyncGenerator[int, str]:
        try:
            for number in range(10):
                try:
                    if (yield number) == "stop":
                        return
                except KeyError:
                    yield -1
        finally:
            ends.append("closed")

    async def main() -> None:
        assert [item async for item in items()] == list(range(10))
        sent = items()
        assert await sent.__anext__() == 0
        assert await sent.athrow(KeyError()) == -1
        assert await sent.asend("go on") == 1
        with pytest.raises(StopAsyncIteration):
            await sent.asend("stop")
        closed = items()
        await closed.__anext__()
        await closed.aclose()
        assert ends == ["closed"] * 3
        failing = items()
        await failing.__anext__()
        with pytest.raises(ZeroDivisionError):
            await failing.athrow(ZeroDivisionError())

    assert inspect.isasyncgenfunction(items)
    asyncio.run(main())
    assert measured.count() == 4


class _Callable:
    def __call__(self) -> str:
        return "plain"


class _Asynchronous:
    async def __call__(self) -> str:
        await asyncio.sleep(SHORT_SECONDS)
        return "asynchronous"


def test_callables_that_are_no_functions_are_decorated(measured: Measured) -> None:
    timer = measured.recorder.timer("call")
    assert timer(_Callable())() == "plain"
    assert timer(functools.partial(int, "11", base=2))() == 3
    assert isinstance(timer(_Asynchronous)(), _Asynchronous)
    work = timer(_Asynchronous())
    assert asyncio.run(work()) == "asynchronous"
    assert measured.count() == 4
    assert measured.seconds() >= SHORT_SECONDS * 0.9
    with pytest.raises(TypeError, match="a timer decorates a function, not int"):
        timer(5)  # type: ignore[type-var]


def test_methods_are_decorated(measured: Measured) -> None:
    timer = measured.recorder.timer("call")

    class Body:
        @timer
        def method(self) -> Body:
            return self

        @classmethod
        @timer
        def of_class(cls) -> type:
            return cls

        @staticmethod
        @timer
        def of_nothing() -> int:
            return 1

    body = Body()
    assert body.method() is body
    assert Body.of_class() is Body
    assert Body.of_nothing() == 1
    assert measured.count() == 3


def test_a_decorated_function_that_raises_is_measured(measured: Measured) -> None:
    @measured.recorder.timer("call")
    def fail() -> None:
        raise ValueError("as it was")

    with pytest.raises(ValueError, match="as it was"):
        fail()
    assert measured.count() == 1


def test_a_timer_of_a_worker_without_metrics_does_nothing() -> None:
    recorder = _native.DisabledRecorder()
    assert isinstance(recorder, MetricRecorder)
    recorder.histogram("a b", -1, labels={"task_id": "t"})
    recorder.gauge("depth", float("nan"))

    @recorder.timer("call")
    async def work() -> int:
        async with recorder.timer("inner"):
            return 7

    assert asyncio.run(work()) == 7
    with recorder.timer("call") as entered:
        assert entered is None
    for call in (
        lambda: recorder.histogram(5, 1),  # type: ignore[arg-type]
        lambda: recorder.gauge("a", "1"),  # type: ignore[arg-type]
        lambda: recorder.timer("a", labels=5),  # type: ignore[arg-type]
        lambda: recorder.histogram("a", 1, {}),  # type: ignore[misc]
    ):
        with pytest.raises(TypeError):
            call()


def test_entering_by_hand_and_through_a_stack(measured: Measured) -> None:
    timer: Any = measured.recorder.timer("call")
    enter, leave = timer.__enter__, timer.__exit__
    for _ in range(3):
        enter()
        leave(None, None, None)
    type(timer).__enter__(timer)
    type(timer).__exit__(timer, None, None, None)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(measured.recorder.timer("call"))
    assert measured.count() == 24


def test_bound_methods_of_a_native_timer_keep_it_alive_and_let_it_go(rig: Any) -> None:
    timer = rig.recorder.timer("call")
    held = sys.getrefcount(timer)
    methods = [timer.__exit__ for _ in range(100)]
    assert sys.getrefcount(timer) == held + 100
    with pytest.raises(TypeError, match="__enter__"):
        timer.__enter__(1)
    with pytest.raises(TypeError):
        timer.__exit__(1, 2, 3, 4)
    with pytest.raises(TypeError):
        timer.__exit__(_type=None)
    methods.clear()
    assert sys.getrefcount(timer) == held
    last = rig.recorder.timer("call", labels={"kind": "last"}).__enter__
    last()
    del last

    def many() -> None:
        for _ in range(200):
            with rig.recorder.timer("call"):
                pass

    for _ in range(50):
        thread = threading.Thread(target=many)
        thread.start()
        thread.join()
    assert rig.count("app.call")[0] == 50 * 200
