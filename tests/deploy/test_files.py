"""The files for operators, without any server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import files


def test_the_dashboards_are_those_of_the_generator() -> None:
    generator = files.ROOT / "deploy/grafana/generate.py"
    done = subprocess.run(
        [sys.executable, str(generator), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_both_languages_show_the_same() -> None:
    english, chinese = (
        [
            (panel["type"], panel["gridPos"], [t["expr"] for t in panel["targets"]])
            for panel in files.panels(path)
        ]
        for path in files.DASHBOARDS
    )
    assert english == chinese
    titles = [[panel["title"] for panel in files.panels(path)] for path in files.DASHBOARDS]
    same = {first for first, second in zip(*titles, strict=True) if first == second}
    assert same == {"$gauge"}


@pytest.mark.parametrize("path", files.DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_can_be_imported(path: Path) -> None:
    board = files.dashboard(path)
    assert "id" not in board
    assert board["uid"]
    every: list[dict[str, Any]] = board["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    cells = [
        (column, row)
        for panel in every
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(column for column, _ in cells) < 24
    for panel in files.panels(path):
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_no_query_names_a_metric_that_is_not_exported() -> None:
    exported = files.exported_names()
    assert "perago.slots" in exported, "the names of worker metrics are read from the source"
    named = {name for _, query in files.queries() for name in files.names(query)}
    ours = {name for name in named if not name.startswith(("app.", "${metric}", "$gauge"))}
    assert ours - exported - files.FOREIGN == set()


def test_every_metric_of_a_worker_is_looked_at() -> None:
    named = {name for _, query in files.queries() for name in files.names(query)}
    unseen = {name for name in files.exported_names() if name not in named}
    # Buckets of workspace operations are for questions beyond these files.
    assert {name for name in unseen if not name.startswith("runtime.workspace_io_")} == set()


def test_both_languages_of_the_page_give_the_same_queries() -> None:
    english = files.documented_queries("en")
    assert english == files.documented_queries("zh-CN")
    assert len(english) == 6


def test_every_rule_is_documented_in_both_languages_and_graded() -> None:
    for rule in files.rules():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}, rule["alert"]
        texts = rule["annotations"]
        assert set(texts) == {"summary", "description", "summary_zh", "description_zh"}, rule["alert"]
        assert texts["summary"].isascii(), rule["alert"]
        assert not texts["summary_zh"].isascii(), rule["alert"]


def test_every_rule_is_tested_to_fire_and_to_be_silent() -> None:
    tests = yaml.safe_load((Path(__file__).parent / "alerts.yml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    is_silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fires == is_silent == {rule["alert"] for rule in files.rules()}


def test_the_compose_file_starts_victoria_metrics_on_its_port() -> None:
    read = yaml.safe_load((files.ROOT / "docker-compose.victoria-metrics.yml").read_text(encoding="utf-8"))
    service = read["services"]["victoria-metrics"]
    assert service["ports"] == ["8428:8428"]
    assert service["image"].startswith("victoriametrics/victoria-metrics:v1.")
