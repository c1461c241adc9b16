"""The native recorder as a task body sees it."""

from __future__ import annotations

import inspect
import math
import multiprocessing
import os
import threading
from typing import Any

import pytest

from perago import _native
from perago.metrics import MetricRecorder


def test_a_recorder_has_three_methods_and_is_a_metric_recorder(rig: Any) -> None:
    assert [name for name in dir(rig.recorder) if not name.startswith("_")] == ["gauge", "histogram", "timer"]
    assert isinstance(rig.recorder, MetricRecorder)
    assert inspect.isabstract(MetricRecorder)


def test_strings_made_at_each_call_are_told_apart_by_content(rig: Any) -> None:
    for round_ in range(3):
        for number in range(300):
            rig.recorder.histogram(f"items{number}", number, labels={f"k{number}": f"v{number}"})
            assert rig.warnings == [], round_
    for number in range(300):
        expected = (3, 3.0 * number)
        assert rig.count(f"app.items{number}", **{f"k{number}": f"v{number}"}) == expected


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
