"""Every rule for what a body records, for the recorder of a worker and for the one of the testing kit."""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections import UserDict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import MemoryRig, Rig


def test_the_page_s_calls(either: Any) -> None:
    either.recorder.gauge("queue_depth", 3)
    either.recorder.histogram("audio_chunks", 12, labels={"stage": "decode", "format": "wav"})
    with either.recorder.timer("model_call", labels={"provider": "openai"}):
        pass
    series = either.series()
    assert set(series) == {
        ("app.queue_depth", ()),
        ("app.audio_chunks", (("format", "wav"), ("stage", "decode"))),
        ("app.model_call", (("provider", "openai"),)),
    }
    assert series["app.queue_depth", ()]["value"] == 3
    assert either.count("app.audio_chunks", stage="decode", format="wav") == (1, 12.0)
    assert either.warnings == []


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
def test_a_wrong_call_shape_raises(either: Any, call: Any) -> None:
    with pytest.raises(TypeError):
        call(either.recorder)
    assert either.series() == {}
    assert either.dropped() == {}


def test_the_type_error_names_the_argument_and_the_type(either: Any) -> None:
    with pytest.raises(TypeError, match="name must be a str, not int"):
        either.recorder.histogram(5, 1)
    with pytest.raises(TypeError, match="value must be a real number, not str"):
        either.recorder.histogram("a", "1")
    with pytest.raises(TypeError, match="labels must be a mapping, not list"):
        either.recorder.histogram("a", 1, labels=[])


class _Index:
    def __index__(self) -> int:
        return 4


class _Broken:
    def __float__(self) -> float:
        raise RuntimeError("no")


def test_real_numbers_of_every_type_count(either: Any) -> None:
    values = (1, 2.5, True, Decimal("0.5"), Fraction(1, 4), _Index(), 2**60)
    for value in values:
        either.recorder.histogram("items", value)
    assert either.count("app.items") == (7, 1 + 2.5 + 1 + 0.5 + 0.25 + 4 + 2.0**60)
    with pytest.raises(TypeError, match="not _Broken"):
        either.recorder.histogram("items", _Broken())


def test_values_that_cannot_be_exported_are_dropped_counted_and_warned_about_once(either: Any) -> None:
    for _ in range(3):
        for value in (math.nan, math.inf, -math.inf, 10**400, -1, -0.5):
            either.recorder.histogram("items", value)
        for value in (math.nan, math.inf):
            either.recorder.gauge("depth", value)
    either.recorder.gauge("depth", -7)
    assert either.series()["app.depth", ()]["value"] == -7
    assert either.dropped() == {"value_not_finite": 18, "value_negative": 6}
    warned = [(w["metric_name"], w["reason"]) for w in either.warnings]
    assert warned == [
        ("app.items", "value_not_finite"),
        ("app.items", "value_negative"),
        ("app.depth", "value_not_finite"),
    ]


@pytest.mark.parametrize("name", ["", "a b", "ä", "a\n", "x" * 252, "\ud800", "a\x00b"])
def test_a_name_that_cannot_be_exported_is_dropped(either: Any, name: str) -> None:
    either.recorder.histogram(name, 1)
    either.recorder.gauge(name, 1)
    with either.recorder.timer(name):
        pass
    assert either.series() == {}
    assert either.dropped() == {"invalid_name": 3}
    assert [w["reason"] for w in either.warnings] == ["invalid_name"]


def test_a_name_keeps_its_case_and_both_spellings_are_warned_about_once(either: Any) -> None:
    for _ in range(3):
        either.recorder.histogram("Items", 1)
        either.recorder.histogram("items", 1)
    assert either.count("app.Items") == either.count("app.items") == (3, 3.0)
    assert [
        (w["reason"], w["perago_label_value"], w["ignored_user_label_value"]) for w in either.warnings
    ] == [("name_case", "app.Items", "app.items")]


def test_one_name_is_one_kind(either: Any) -> None:
    either.recorder.histogram("items", 1)
    either.recorder.gauge("items", 1)
    either.recorder.gauge("items_count", 1)
    either.recorder.gauge("other_sum", 1)
    either.recorder.histogram("other", 1)
    assert set(either.series()) == {("app.items", ()), ("app.other_sum", ())}
    assert either.dropped() == {"kind_clash": 1, "series_clash": 2}


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
def test_a_reserved_label_is_dropped_with_the_four_fields(either: Any, key: str, perago_value: str) -> None:
    for _ in range(4):
        either.recorder.histogram("items", 1, labels={key: "mine", "stage": "decode"})
    assert either.count("app.items", stage="decode") == (4, 4.0)
    assert either.warnings == [
        {
            "metric_name": "app.items",
            "label_key": key,
            "perago_label_value": perago_value,
            "ignored_user_label_value": "mine",
            "reason": "reserved_label",
        }
    ]
    assert either.dropped() == {"reserved_label": 4}


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
    either: Any, value: Any, shown: str
) -> None:
    either.recorder.histogram("items", 1, labels={"k": value})
    assert either.count("app.items", k=shown) == (1, 1.0)
    assert [w["reason"] for w in either.warnings] == ["label_converted"]


def test_empty_keys_are_dropped_and_empty_values_do_not_exist(either: Any) -> None:
    either.recorder.histogram("items", 1, labels={"": "x"})
    either.recorder.histogram("items", 1, labels={None: "x"})
    either.recorder.histogram("items", 1, labels={"k": ""})
    either.recorder.histogram("items", 1, labels={"k": None})
    either.recorder.histogram("items", 1, labels={})
    either.recorder.histogram("items", 1)
    assert either.count("app.items") == (6, 6.0)
    assert either.dropped() == {"empty_label_key": 2, "label_converted": 1}


def test_any_mapping_of_labels_is_accepted(either: Any) -> None:
    for labels in ({"k": "v"}, MappingProxyType({"k": "v"}), UserDict({"k": "v"})):
        either.recorder.histogram("items", 1, labels=labels)
    assert either.count("app.items", k="v") == (3, 3.0)


def test_the_order_of_labels_makes_no_series(either: Any) -> None:
    either.recorder.histogram("items", 1, labels={"a": "1", "b": "2"})
    either.recorder.histogram("items", 1, labels={"b": "2", "a": "1"})
    assert either.count("app.items", a="1", b="2") == (2, 2.0)


def test_one_dictionary_with_changing_content(either: Any) -> None:
    labels = {"k": "a"}
    for value in ("a", "b", "a", "c"):
        labels["k"] = value
        either.recorder.histogram("items", 1, labels=labels)
    assert [either.count("app.items", k=value)[0] for value in ("a", "b", "c")] == [2, 1, 1]


def test_a_timer_records_seconds_also_when_its_block_raises(either: Any) -> None:
    with pytest.raises(ValueError, match="as it was"), either.recorder.timer("call"):
        raise ValueError("as it was")
    count, seconds = either.count("app.call")
    assert count == 1
    assert 0 < seconds < 60


def test_a_timer_may_be_used_again_and_inside_itself(either: Any) -> None:
    timer = either.recorder.timer("call")
    assert timer.__exit__(None, None, None) is None
    with timer as entered:
        assert entered is None
        with timer, timer:
            pass
    with timer:
        pass
    assert either.count("app.call")[0] == 4


def test_a_timer_decorates_functions_of_every_kind(either: Any) -> None:
    recorder = either.recorder

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
    assert either.count("app.call")[0] == 3 + 1 + 1 + 1 + 2


def test_a_timer_takes_its_labels_when_it_is_made(either: Any) -> None:
    labels = {"k": "a"}
    timer = either.recorder.timer("call", labels=labels)
    labels["k"] = "b"
    with timer:
        pass
    assert either.count("app.call", k="a")[0] == 1


def test_a_timer_that_cannot_be_exported_runs_its_block(either: Any) -> None:
    for _ in range(2):
        with either.recorder.timer("a b", labels={"task_id": "x"}):
            pass
    timer = either.recorder.timer("never entered")
    assert timer.__exit__(None, None, None) is None
    assert either.series() == {}
    assert either.dropped() == {"invalid_name": 2}
    assert len(either.warnings) == 1


def test_names_and_labels_that_are_too_long(either: Any) -> None:
    either.recorder.histogram("x" * 251, 1)
    either.recorder.histogram("items", 1, labels={"k": "v" * 20_000})
    assert set(either.series()) == {("app." + "x" * 251, ())}
    assert either.dropped() == {"labels_too_long": 1}
    assert [(w["metric_name"], w["reason"]) for w in either.warnings] == [("app.items", "labels_too_long")]


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_labels_of_any_content_never_fail(either: Any) -> None:
    for value in (_Unprintable(), "\ud800", math.nan, [object()], {1, 2}, "\x00", "a\nb", "\u8282\u70b9"):
        either.recorder.histogram("items", 1, labels={"k": value})
    assert sum(series["count"] for series in either.series().values()) == 8
    assert either.count("app.items", k="\u8282\u70b9") == (1, 1.0)
    assert either.count("app.items", k="_Unprintable") == (1, 1.0)


def test_keys_that_become_equal_by_conversion_are_one_label(either: Any) -> None:
    either.recorder.histogram("items", 1, labels={1: "a", "1": "b"})
    assert either.count("app.items", **{"1": "b"}) == (1, 1.0)


def test_label_sets_beyond_the_cap_share_a_series_of_their_metric(new_either: Callable[..., Rig]) -> None:
    either = new_either(label_sets=3)
    for number in range(50):
        either.recorder.histogram("items", number, labels={"user": str(number), "zone": "a"})
    either.recorder.gauge("depth", 4, labels={"user": "1"})
    either.recorder.histogram("plain", 1)
    either.recorder.histogram("items", 1, labels={"user": "0", "zone": "a"})
    overflow = {"otel.metric.overflow": "true"}
    assert either.count("app.items", **overflow) == (47, float(sum(range(3, 50))))
    assert either.count("app.items", user="0", zone="a") == (2, 1.0)
    assert either.count("app.plain") == (1, 1.0)
    assert either.series()["app.depth", tuple(overflow.items())]["value"] == 4
    assert len(either.series()) == 3 + 1 + 1 + 1
    assert either.dropped() == {"label_sets_exceeded": 48}
    assert [(w["metric_name"], w["label_key"]) for w in either.warnings][:1] == [("app.items", "user")]
    assert {w["metric_name"] for w in either.warnings} == {"app.items", "app.depth"}
    assert len(either.warnings) == 2


def test_any_thread_of_a_body_may_record(either: Any) -> None:
    def record() -> None:
        for value in range(500):
            either.recorder.histogram("items", value)
            with either.recorder.timer("block"):
                pass

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert either.count("app.items") == (2_000, 4 * 500 * 499 / 2)
    assert either.count("app.block")[0] == 2_000


def _is_hashable(value: object) -> bool:
    return not isinstance(value, list)


_texts = st.text(max_size=6) | st.sampled_from(["a", "task_id", "le", "task_name", "service.name"])
_odd = (
    st.integers() | st.none() | st.booleans() | st.floats() | st.binary(max_size=3) | st.lists(st.integers())
)
_calls = st.lists(
    st.tuples(
        st.sampled_from(["histogram", "gauge"]),
        st.sampled_from(["items", "depth", "items_sum", "Items", "a_bucket", "a"]) | st.text(max_size=4),
        st.integers(-5, 50) | st.floats(allow_nan=True, allow_infinity=True, width=16) | st.booleans(),
        st.none() | st.dictionaries(_texts | _odd.filter(_is_hashable), _texts | _odd, max_size=3),
    ),
    max_size=15,
)


@given(calls=_calls)
@settings(max_examples=100, deadline=None)
def test_both_recorders_agree_on_any_calls(new_rig: Any, calls: Any) -> None:
    worker, memory = new_rig(label_sets=4), MemoryRig(label_sets=4)
    for kind, name, value, labels in calls:
        for rig in (worker, memory):
            getattr(rig.recorder, kind)(name, value, labels=labels)
    assert _comparable(worker) == _comparable(memory)
    assert worker.dropped() == memory.dropped()
    assert worker.warnings == memory.warnings


def _comparable(rig: Rig) -> dict[Any, Any]:
    return {
        key: series["value"] if "value" in series else (series["count"], series["sum"])
        for key, series in rig.series().items()
    }
