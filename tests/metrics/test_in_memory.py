"""The recorder of the testing kit follows the rules of the real one."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from perago.metrics import InMemoryMetricRecorder, MetricRecorder, RecordedMetricSample


def test_samples_are_kept_as_they_would_be_exported() -> None:
    metrics = InMemoryMetricRecorder("audio.transcribe")
    metrics.histogram("audio_chunks", 12, labels={"stage": "decode"})
    metrics.gauge("queue_depth", 3)
    with metrics.timer("model_call"):
        pass
    assert isinstance(metrics, MetricRecorder)
    assert metrics.histograms[0] == RecordedMetricSample(
        "app.audio_chunks", 12, {"stage": "decode", "task_name": "audio.transcribe"}
    )
    assert metrics.gauges == [RecordedMetricSample("app.queue_depth", 3, {"task_name": "audio.transcribe"})]
    assert metrics.histograms[1].name == "app.model_call"
    assert metrics.warnings == []


def test_what_the_real_one_drops_is_not_kept() -> None:
    metrics = InMemoryMetricRecorder()
    metrics.histogram("items", math.nan)
    metrics.histogram("items", -1)
    metrics.histogram("a b", 1)
    metrics.histogram("items", 1, labels={"worker_id": "w"})
    metrics.gauge("items", 1)
    assert [sample.labels for sample in metrics.histograms] == [{"task_name": "task"}]
    assert metrics.gauges == []
    assert [warning["reason"] for warning in metrics.warnings] == [
        "value_not_finite",
        "value_negative",
        "invalid_name",
        "reserved_label",
        "kind_clash",
    ]


_texts = st.text(max_size=6) | st.sampled_from(["a", "task_id", "le", "task_name"])
_calls = st.lists(
    st.tuples(
        st.sampled_from(["histogram", "gauge"]),
        st.sampled_from(["items", "depth", "items_sum", "B"]) | st.text(max_size=4),
        st.integers(-5, 50) | st.floats(allow_nan=True, allow_infinity=True, width=16),
        st.none() | st.dictionaries(_texts, _texts | st.integers() | st.none(), max_size=3),
    ),
    max_size=15,
)


@given(calls=_calls)
@settings(max_examples=60, deadline=None)
def test_both_recorders_export_the_same_series(new_rig: Any, calls: Any) -> None:
    rig = new_rig()
    memory = InMemoryMetricRecorder("audio.transcribe")
    for kind, name, value, labels in calls:
        getattr(rig.recorder, kind)(name, value, labels=labels)
        getattr(memory, kind)(name, value, labels=labels)
    expected: dict[Any, Any] = {}
    for sample in memory.histograms:
        key = (sample.name, frozenset(sample.labels.items()))
        count, total = expected.get(key, (0, 0.0))
        expected[key] = (count + 1, total + sample.value)
    for sample in memory.gauges:
        expected[sample.name, frozenset(sample.labels.items())] = sample.value
    found = {
        (series["name"], frozenset(series["labels"].items())): (
            series["value"] if "value" in series else (series["count"], series["sum"])
        )
        for series in rig.store.series()
    }
    assert found == expected


def test_the_module_imports_without_pydantic() -> None:
    program = "import sys, perago.metrics; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
