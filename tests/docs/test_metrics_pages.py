"""The pages on metrics against the recorder, the bounds and the files for operators."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.files import rules
from integration.measuring import BYTES_BOUNDS, GENERAL_BOUNDS, SECONDS_BOUNDS
from integration.test_victoria_metrics import AVERAGE_MODEL_CALL, AVERAGE_WORKSPACE_IO
from perago import _native
from perago.metrics import InMemoryMetricRecorder

from . import pages

TASK = "audio.transcribe"
STORE_PAGE = "metrics-in-victoriametrics.md"


def text(name: str, language: str) -> str:
    return (pages.GUIDES / language / name).read_text(encoding="utf-8")


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in page.splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_the_table_of_calls_is_what_the_recorder_does(language: str) -> None:
    calls = [row for row in rows(text("metrics.md", language)) if row[0].startswith("`metrics.")]
    assert len(calls) == 3
    for call, name, automatic, own in calls:
        metrics = InMemoryMetricRecorder(TASK)
        timer = eval(call.strip("`"), {"metrics": metrics})
        if timer is not None:
            with timer:
                pass
        (sample,) = metrics.histograms + metrics.gauges
        assert name == f"`{sample.name}`"
        assert automatic == f'`task_name="{sample.labels.pop("task_name")}"`'
        assert set(re.findall(r"`(\w+)`", own)) == set(sample.labels)


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_the_averages_are_those_that_are_tested(language: str) -> None:
    blocks = "\n".join(block.text for block in pages.blocks(pages.GUIDES / language / "metrics.md", "text"))
    for query in (AVERAGE_MODEL_CALL, AVERAGE_WORKSPACE_IO):
        assert query.strip() in blocks


def bounds(directory: Path, name: str) -> list[float]:
    """The bounds that a worker gives a histogram."""
    store = _native.ArenaStore(directory)
    recorder = _native.open_recorder(store.begin("0"), TASK)
    recorder.histogram(name, 1)
    found: list[float] = store.series()[0]["bounds"]
    return found


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_the_bounds_and_the_numbers_of_series_are_true(language: str, tmp_path: Path) -> None:
    seconds = bounds(tmp_path / "s", "a_seconds")
    sizes = bounds(tmp_path / "b", "a_bytes")
    general = bounds(tmp_path / "g", "a")
    assert (seconds, sizes, general) == (SECONDS_BOUNDS, BYTES_BOUNDS, GENERAL_BOUNDS)
    (listed,) = [
        row[1] for row in rows(text("metrics.md", language)) if row[0] == "`_seconds`" and "21600" in row[1]
    ]
    written = [
        float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", re.split("[:：]", listed)[1])
    ]
    assert written == seconds
    table = [row for row in rows(text(STORE_PAGE, language)) if len(row) == 2]
    counts = [int(found[1]) for _, cell in table if (found := re.match(r"(\d+) (?:series|条)", cell))]
    # Every bound, the bucket above all of them, count and sum.
    assert counts == [len(seconds) + 3, len(sizes) + 3, len(general) + 3, 1]
    assert f"{counts[2]} + {counts[0]} + 1 = {counts[2] + counts[0] + 1}" in text(STORE_PAGE, language)


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_alert_is_documented_and_no_other(language: str) -> None:
    documented = re.findall(r"^\| `(Perago\w+)` \|", text(STORE_PAGE, language), re.MULTILINE)
    assert documented == [rule["alert"] for rule in rules()]
