"""Whatever a body passes: the call returns or raises `TypeError`, and what is exported is well formed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perago import _native
from perago.metrics import InMemoryMetricRecorder

RESERVED = {"task_id", "workflow_instance_id", "execution_id", "worker_id", "le", "vmrange", "__name__"}


class _Colour(IntEnum):
    RED = 1


class _Word(str, Enum):
    LOUD = "loud"


class _Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("not by this way")


class _Unshown:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _Leaving:
    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __float__(self) -> float:
        raise KeyboardInterrupt


class _Unreadable(Mapping[str, str]):
    def __getitem__(self, key: str) -> str:
        raise LookupError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "b"])

    def __len__(self) -> int:
        return 2


class _Emptied(dict[Any, Any]):
    """A label whose text changes the labels that it is one of."""

    def __init__(self) -> None:
        super().__init__()
        self["k"] = _Emptying(self)
        self["l"] = "v"


class _Emptying:
    def __init__(self, labels: dict[Any, Any]) -> None:
        self._labels = labels

    def __str__(self) -> str:
        self._labels.clear()
        return "cleared"


_texts = (
    st.text(max_size=8)
    | st.sampled_from(
        ["", "stage", "task_name", "task.name", "\ud800", "a\x00b", "x" * 300, *sorted(RESERVED)]
    )
    | st.text(alphabet=st.characters(), max_size=3)
)
_anything = st.recursive(
    _texts
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=4)
    | st.decimals()
    | st.fractions()
    | st.complex_numbers()
    | st.sampled_from([_Colour.RED, _Word.LOUD, _Text("text"), _Unshown(), 10**400, object, len]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2),
    max_leaves=4,
)
_keys = (
    _texts | st.none() | st.booleans() | st.integers() | st.floats() | st.tuples(_texts) | st.just(_Unshown())
)
_calls = st.tuples(
    st.sampled_from(["histogram", "gauge", "timer"]),
    st.sampled_from(["items", "depth", "items_sum"]) | _anything,
    _anything,
    st.dictionaries(_keys, _anything, max_size=4) | _anything | st.builds(_Unreadable) | st.builds(_Emptied),
)


def _call(recorder: Any, kind: str, name: Any, value: Any, labels: Any) -> bool:
    """Make a call; return whether it was of the right shape."""
    try:
        if kind == "timer":
            with recorder.timer(name, labels=labels):
                pass
        else:
            getattr(recorder, kind)(name, value, labels=labels)
    except TypeError:
        return False
    return True


@given(calls=st.lists(_calls, max_size=12))
@settings(max_examples=150, deadline=None)
def test_no_input_fails_a_call_or_spoils_an_export(new_rig: Any, calls: Any) -> None:
    rig = new_rig()
    memory = InMemoryMetricRecorder("audio.transcribe")
    disabled = _native.DisabledRecorder()
    for kind, name, value, labels in calls:
        # The mapping that empties itself must be whole again for each of them.
        shapes = [
            _call(recorder, kind, name, value, _Emptied() if isinstance(labels, _Emptied) else labels)
            for recorder in (rig.recorder, memory, disabled)
        ]
        assert len(set(shapes)) == 1, shapes
        rig.recorder.histogram("unharmed", 1)
    for series in rig.store.series():
        assert series["name"].startswith("app.")
        assert 4 < len(series["name"]) <= 255
        assert series["labels"]["task_name"] == "audio.transcribe"
        for key, text in series["labels"].items():
            assert key
            assert text
            assert key not in RESERVED
            (key + text).encode()
        if "value" in series:
            assert math.isfinite(series["value"])
        else:
            assert math.isfinite(series["sum"])
            assert series["sum"] >= 0
            assert series["count"] == sum(series["counts"]) > 0
    if calls:
        assert rig.count("app.unharmed") == (len(calls), float(len(calls)))
    assert {sample.name for sample in memory.histograms + memory.gauges} == {
        name for name, _ in rig.series() if name != "app.unharmed"
    }


@pytest.mark.parametrize("value", [Decimal("sNaN"), Decimal("NaN"), Decimal("Infinity"), Fraction(10**400)])
def test_a_number_without_a_finite_float_is_dropped(rig: Any, value: Any) -> None:
    rig.recorder.histogram("items", value)
    rig.recorder.gauge("depth", value)
    assert rig.series() == {}
    assert rig.store.dropped() == {"value_not_finite": 2}


@pytest.mark.parametrize("value", ["1", b"1", bytearray(b"1"), 1j, None, [1], object()])
def test_what_is_no_real_number_raises(rig: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=f"value must be a real number, not {type(value).__name__}"):
        rig.recorder.histogram("items", value)


def test_the_largest_numbers_leave_a_finite_sum(rig: Any) -> None:
    for _ in range(5):
        rig.recorder.histogram("items", 1.7e308)
    count, total = rig.count("app.items")
    assert count == 5
    assert total == math.inf or total == 1.7976931348623157e308
    assert math.isfinite(total)


def test_labels_that_cannot_be_read_drop_the_sample(rig: Any) -> None:
    for _ in range(2):
        rig.recorder.histogram("items", 1, labels=_Unreadable())
        with rig.recorder.timer("call", labels=_Unreadable()):
            pass
    assert rig.series() == {}
    assert rig.store.dropped() == {"labels_unreadable": 4}
    assert [(w["metric_name"], w["reason"]) for w in rig.warnings] == [
        ("app.items", "labels_unreadable"),
        ("app.call", "labels_unreadable"),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(_Colour.RED, "1"), (_Word.LOUD, "loud"), (_Text("text"), "text"), (_Unshown(), "_Unshown")],
)
def test_unusual_label_values_have_one_text(rig: Any, value: Any, shown: str) -> None:
    rig.recorder.histogram("items", 1, labels={"k": value})
    assert rig.count("app.items", k=shown) == (1, 1.0)


def test_labels_that_change_while_they_are_read(rig: Any) -> None:
    rig.recorder.histogram("items", 1, labels=_Emptied())
    assert rig.count("app.items", k="cleared", l="v") == (1, 1.0)


def test_what_ends_a_program_is_not_held_up(rig: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        rig.recorder.histogram("items", _Leaving())
    with pytest.raises(KeyboardInterrupt):
        rig.recorder.histogram("items", 1, labels={"k": _Leaving()})
    assert rig.series() == {}
