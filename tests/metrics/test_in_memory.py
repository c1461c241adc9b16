"""What the recorder of the testing kit shows; its rules are in `test_rules.py`."""

from __future__ import annotations

import math
import subprocess
import sys

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
    assert metrics.dropped == {}


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
    assert set(metrics.dropped.values()) == {1}


def test_values_of_one_metric_by_its_labels() -> None:
    metrics = InMemoryMetricRecorder()
    metrics.histogram("items", 1, labels={"stage": "a", "zone": "x"})
    metrics.histogram("items", 2, labels={"stage": "b"})
    metrics.histogram("others", 3)
    metrics.gauge("depth", 4)
    metrics.gauge("depth", 5)
    assert metrics.values("items") == [1, 2]
    assert metrics.values("items", labels={"stage": "a"}) == [1]
    assert metrics.values("items", labels={"stage": "a", "task_name": "other"}) == []
    assert metrics.values("depth")[-1] == 5
    assert metrics.values("app.items") == []


def test_warnings_go_to_the_list_that_was_given() -> None:
    mine: list[dict[str, str]] = []
    metrics = InMemoryMetricRecorder(warnings=mine)
    metrics.gauge("depth", math.inf)
    assert metrics.warnings is mine
    assert [warning["reason"] for warning in mine] == ["value_not_finite"]


def test_the_module_imports_without_pydantic() -> None:
    program = "import sys, perago.testing; sys.exit('pydantic' in sys.modules or 'pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
