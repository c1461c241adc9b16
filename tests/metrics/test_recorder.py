"""The native recorder as a task body sees it."""

from __future__ import annotations

import asyncio
import inspect
import math
import multiprocessing
import os
import threading
from collections import UserDict
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest

from perago import _native
from perago.metrics import InMemoryMetricRecorder, MetricRecorder


def test_the_page_s_calls(rig: Any) -> None:
    rig.recorder.gauge("queue_depth", 3)
    rig.recorder.histogram("audio_chunks", 12, labels={"stage": "decode", "format": "wav"})
    with rig.recorder.timer("model_call", labels={"provider": "openai"}):
        pass
    series = rig.series()
    assert set(series) == {
        ("app.queue_depth", ()),
        ("app.audio_chunks", (("format", "wav"), ("stage", "decode"))),
        ("app.model_call", (("provider", "openai"),)),
    }
    assert series["app.queue_depth", ()]["value"] == 3
    assert rig.count("app.audio_chunks", stage="decode", format="wav") == (1, 12.0)
    assert rig.warnings == []


def test_a_recorder_has_three_methods_and_is_a_metric_recorder(rig: Any) -> None:
    assert [name for name in dir(rig.recorder) if not name.startswith("_")] == ["gauge", "histogram", "timer"]
    assert isinstance(rig.recorder, MetricRecorder)
    assert inspect.isabstract(MetricRecorder)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.histogram(),
        lambda m: m.histogram("a"),
        lambda m: m.histogram("a", 1, {"k": "v"}),
        lambda m: m.histogram("a", 1, tags={}),
        lambda m: m.histogram(5, 1),
        lambda m: m.histogram(None, 1),
        lambda m: m.histogram(b"a", 1),
        lambda m: m.histogram("a", "1"),
        lambda m: m.histogram("a", None),
        lambda m: m.histogram("a", 1j),
        lambda m: m.histogram("a", [1]),
        lambda m: m.histogram("a", 1, labels="k=v"),
        lambda m: m.histogram("a", 1, labels=[("k", "v")]),
        lambda m: m.histogram("a", 1, labels=5),
        lambda m: m.gauge("a"),
        lambda m: m.gauge("a", "1"),
        lambda m: m.gauge("a", 1, {"k": "v"}),
        lambda m: m.timer(),
        lambda m: m.timer("a", {"k": "v"}),
        lambda m: m.timer(5),
        lambda m: m.timer("a", labels=5),
    ],
)
@pytest.mark.parametrize("kind", ["native", "memory"])
def test_a_wrong_call_shape_raises(rig: Any, kind: str, call: Any) -> None:
    recorder = rig.recorder if kind == "native" else InMemoryMetricRecorder("audio.transcribe")
    with pytest.raises(TypeError):
        call(recorder)
    assert rig.series() == {}


def test_the_type_error_names_the_argument_and_the_type(rig: Any) -> None:
    with pytest.raises(TypeError, match="name must be a str, not int"):
        rig.recorder.histogram(5, 1)
    with pytest.raises(TypeError, match="value must be a real number, not str"):
        rig.recorder.histogram("a", "1")
    with pytest.raises(TypeError, match="labels must be a mapping, not list"):
        rig.recorder.histogram("a", 1, labels=[])


class _Index:
    def __index__(self) -> int:
        return 4


class _Broken:
    def __float__(self) -> float:
        raise RuntimeError("no")


def test_real_numbers_of_every_type_count(rig: Any) -> None:
    values = (1, 2.5, True, Decimal("0.5"), Fraction(1, 4), _Index(), 2**60)
    for value in values:
        rig.recorder.histogram("items", value)
    assert rig.count("app.items") == (7, 1 + 2.5 + 1 + 0.5 + 0.25 + 4 + 2.0**60)
    with pytest.raises(TypeError, match="not _Broken"):
        rig.recorder.histogram("items", _Broken())


def test_values_that_cannot_be_exported_are_dropped_counted_and_warned_about_once(rig: Any) -> None:
    for _ in range(3):
        for value in (math.nan, math.inf, -math.inf, 10**400, -1, -0.5):
            rig.recorder.histogram("items", value)
        for value in (math.nan, math.inf):
            rig.recorder.gauge("depth", value)
    rig.recorder.gauge("depth", -7)
    assert rig.series()["app.depth", ()]["value"] == -7
    assert rig.store.dropped() == {"value_not_finite": 18, "value_negative": 6}
    warned = [(w["metric_name"], w["reason"]) for w in rig.warnings]
    assert warned == [
        ("app.items", "value_not_finite"),
        ("app.items", "value_negative"),
        ("app.depth", "value_not_finite"),
    ]


@pytest.mark.parametrize("name", ["", "a b", "ä", "a\n", "x" * 252, "\ud800", "a\x00b"])
def test_a_name_that_cannot_be_exported_is_dropped(rig: Any, name: str) -> None:
    rig.recorder.histogram(name, 1)
    rig.recorder.gauge(name, 1)
    with rig.recorder.timer(name):
        pass
    assert rig.series() == {}
    assert rig.store.dropped() == {"invalid_name": 3}
    assert [w["reason"] for w in rig.warnings] == ["invalid_name"]


def test_a_name_keeps_its_case_and_both_spellings_are_warned_about_once(rig: Any) -> None:
    for _ in range(3):
        rig.recorder.histogram("Items", 1)
        rig.recorder.histogram("items", 1)
    assert rig.count("app.Items") == rig.count("app.items") == (3, 3.0)
    assert [(w["reason"], w["perago_label_value"], w["ignored_user_label_value"]) for w in rig.warnings] == [
        ("name_case", "app.Items", "app.items")
    ]


def test_one_name_is_one_kind(rig: Any) -> None:
    rig.recorder.histogram("items", 1)
    rig.recorder.gauge("items", 1)
    rig.recorder.gauge("items_count", 1)
    rig.recorder.gauge("other_sum", 1)
    rig.recorder.histogram("other", 1)
    assert set(rig.series()) == {("app.items", ()), ("app.other_sum", ())}
    assert rig.store.dropped() == {"kind_clash": 1, "series_clash": 2}


@pytest.mark.parametrize(
    ("key", "perago_value"),
    [
        ("task_name", "audio.transcribe"),
        ("task_id", "<reserved>"),
        ("workflow_instance_id", "<reserved>"),
        ("execution_id", "<reserved>"),
        ("worker_id", "<reserved>"),
        ("le", "<reserved>"),
        ("vmrange", "<reserved>"),
        ("__name__", "<reserved>"),
        ("service.name", "<reserved>"),
    ],
)
def test_a_reserved_label_is_dropped_with_the_four_fields(rig: Any, key: str, perago_value: str) -> None:
    for _ in range(4):
        rig.recorder.histogram("items", 1, labels={key: "mine", "stage": "decode"})
    assert rig.count("app.items", stage="decode") == (4, 4.0)
    assert rig.warnings == [
        {
            "metric_name": "app.items",
            "label_key": key,
            "perago_label_value": perago_value,
            "ignored_user_label_value": "mine",
            "reason": "reserved_label",
        }
    ]
    assert rig.store.dropped() == {"reserved_label": 4}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        (2.5, "2.5"),
        (1e21, "1000000000000000000000"),
        ([1, "a"], '[1,"a"]'),
        ({"a": None}, '{"a":null}'),
        (b"ab", "YWI="),
    ],
)
def test_label_values_of_other_types_are_converted_as_the_store_shows_them(
    rig: Any, value: Any, shown: str
) -> None:
    rig.recorder.histogram("items", 1, labels={"k": value})
    assert rig.count("app.items", k=shown) == (1, 1.0)
    assert [w["reason"] for w in rig.warnings] == ["label_converted"]


def test_empty_keys_are_dropped_and_empty_values_do_not_exist(rig: Any) -> None:
    rig.recorder.histogram("items", 1, labels={"": "x"})
    rig.recorder.histogram("items", 1, labels={None: "x"})
    rig.recorder.histogram("items", 1, labels={"k": ""})
    rig.recorder.histogram("items", 1, labels={"k": None})
    rig.recorder.histogram("items", 1, labels={})
    rig.recorder.histogram("items", 1)
    assert rig.count("app.items") == (6, 6.0)
    assert rig.store.dropped() == {"empty_label_key": 2, "label_converted": 1}


def test_any_mapping_of_labels_is_accepted(rig: Any) -> None:
    for labels in ({"k": "v"}, MappingProxyType({"k": "v"}), UserDict({"k": "v"})):
        rig.recorder.histogram("items", 1, labels=labels)
    assert rig.count("app.items", k="v") == (3, 3.0)


def test_the_order_of_labels_makes_no_series(rig: Any) -> None:
    rig.recorder.histogram("items", 1, labels={"a": "1", "b": "2"})
    rig.recorder.histogram("items", 1, labels={"b": "2", "a": "1"})
    assert rig.count("app.items", a="1", b="2") == (2, 2.0)


def test_strings_made_at_each_call_are_told_apart_by_content(rig: Any) -> None:
    for round_ in range(3):
        for number in range(300):
            rig.recorder.histogram(f"items{number}", number, labels={f"k{number}": f"v{number}"})
            assert rig.warnings == [], round_
    for number in range(300):
        expected = (3, 3.0 * number)
        assert rig.count(f"app.items{number}", **{f"k{number}": f"v{number}"}) == expected


def test_one_dictionary_with_changing_content(rig: Any) -> None:
    labels = {"k": "a"}
    for value in ("a", "b", "a", "c"):
        labels["k"] = value
        rig.recorder.histogram("items", 1, labels=labels)
    assert [rig.count("app.items", k=value)[0] for value in ("a", "b", "c")] == [2, 1, 1]


def test_a_timer_records_seconds_also_when_its_block_raises(rig: Any) -> None:
    with pytest.raises(ValueError, match="as it was"), rig.recorder.timer("call"):
        raise ValueError("as it was")
    count, seconds = rig.count("app.call")
    assert count == 1
    assert 0 < seconds < 60


def test_a_timer_may_be_used_again_and_inside_itself(rig: Any) -> None:
    timer = rig.recorder.timer("call")
    assert timer.__exit__(None, None, None) is None
    with timer as entered:
        assert entered is None
        with timer, timer:
            pass
    with timer:
        pass
    assert rig.count("app.call")[0] == 4


def test_timers_of_one_name_measure_on_their_own(rig: Any) -> None:
    for _ in range(3):
        outer = rig.recorder.timer("call")
        with outer:
            with rig.recorder.timer("call"):
                inner = rig.recorder.timer("call")
                assert inner is not outer
            with inner:
                pass
        rig.recorder.timer("call").__enter__()
        rig.recorder.timer("call").__exit__()
    assert rig.count("app.call")[0] == 9


@pytest.mark.parametrize("kind", ["native", "memory"])
def test_a_timer_decorates_functions_of_every_kind(rig: Any, kind: str) -> None:
    memory = InMemoryMetricRecorder("audio.transcribe")
    recorder: Any = rig.recorder if kind == "native" else memory

    @recorder.timer("call")
    def plain(depth: int) -> int:
        """Docstring."""
        return 0 if depth == 0 else 1 + plain(depth - 1)

    @recorder.timer("call")
    async def coroutine() -> int:
        await asyncio.sleep(0)
        return 7

    @recorder.timer("call")
    def generator() -> Any:
        yield 1
        yield 2

    @recorder.timer("call")
    async def asynchronous_generator() -> Any:
        yield 3

    async def main() -> list[int]:
        items = [item async for item in asynchronous_generator()]
        async with recorder.timer("call"):
            return items + list(await asyncio.gather(coroutine(), coroutine()))

    assert plain(2) == 2
    assert (plain.__name__, plain.__doc__) == ("plain", "Docstring.")
    assert inspect.iscoroutinefunction(coroutine)
    assert list(generator()) == [1, 2]
    assert asyncio.run(main()) == [3, 7, 7]
    count = rig.count("app.call")[0] if kind == "native" else len(memory.histograms)
    assert count == 3 + 1 + 1 + 1 + 2


def test_threads_of_a_body_lose_nothing(rig: Any) -> None:
    def record(number: int) -> None:
        for value in range(2_000):
            rig.recorder.histogram("items", value)
            rig.recorder.histogram("by_thread", 1, labels={"thread": str(number)})
            with rig.recorder.timer("block"):
                pass

    threads = [threading.Thread(target=record, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rig.count("app.items") == (16_000, 8 * 2_000 * 1_999 / 2)
    assert rig.count("app.block")[0] == 16_000
    assert [rig.count("app.by_thread", thread=str(number))[0] for number in range(8)] == [2_000] * 8


def _record_in_child(arguments: tuple[Any, int]) -> int:
    recorder, number = arguments
    recorder.histogram("items", number)
    return os.getpid()


_inherited: list[Any] = []


def _record_inherited(number: int) -> None:
    for _ in range(500):
        _inherited[0].histogram("items", number, labels={"child": str(number)})


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_pool_in_the_body_loses_nothing(rig: Any) -> None:
    rig.recorder.histogram("items", 1)
    _inherited[:] = [rig.recorder]
    with multiprocessing.get_context("fork").Pool(8) as pool:
        pool.map(_record_inherited, range(8), chunksize=1)
    for number in range(8):
        assert rig.count("app.items", child=str(number)) == (500, 500.0 * number)
    assert rig.count("app.items") == (1, 1.0)


def test_a_warning_callback_that_raises_never_fails_the_call(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)

    def fail(_fields: dict[str, str]) -> None:
        raise RuntimeError("sink")

    recorder = _native.open_recorder(rig.path, "audio.transcribe", warning=fail)
    recorder.histogram("items", math.nan)
    assert [str(entry.exc_value) for entry in unraisable] == ["sink"]


def test_totals_go_on_with_a_new_recorder_on_the_same_arena(rig: Any) -> None:
    rig.recorder.histogram("items", 1, labels={"k": "v"})
    again = _native.open_recorder(rig.path, "audio.transcribe")
    again.histogram("items", 2, labels={"k": "v"})
    assert rig.count("app.items", k="v") == (2, 3.0)


def test_bucket_overrides_and_reserved_labels_are_taken(rig: Any) -> None:
    with pytest.raises(ValueError, match="ascending"):
        _native.open_recorder(rig.path, "audio.transcribe", buckets={"items": [2, 1]})
    recorder = _native.open_recorder(
        rig.path, "audio.transcribe", reserved_labels=["deployment.zone"], warning=rig.warnings.append
    )
    recorder.histogram("items", 1, labels={"deployment_zone": "x"})
    assert rig.count("app.items") == (1, 1.0)
    assert [w["label_key"] for w in rig.warnings] == ["deployment_zone"]


def test_an_arena_that_cannot_be_opened_is_an_os_error(tmp_path: Any) -> None:
    with pytest.raises(OSError, match="PERAGO-METRICS-IO"):
        _native.open_recorder(tmp_path / "missing.arena", "audio.transcribe")
