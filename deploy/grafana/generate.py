"""Writes the Grafana dashboards beside it, one a language, from the panels in `panels.py`.

python deploy/grafana/generate.py           writes perago.json (English) and perago.zh-CN.json (Chinese)
python deploy/grafana/generate.py --check   fails if they are not what it would write
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from panels import ROWS, VARIABLES, Panel, Text

FOLDER = Path(__file__).resolve().parent
LANGUAGES = {"en": "perago.json", "zh-CN": "perago.zh-CN.json"}
WIDTH = 24
# Workers push once a minute unless told otherwise.
PUSH_INTERVAL = "1m"


def dashboard(language: str) -> dict[str, Any]:
    """Return the dashboard in one language, as Grafana imports it."""
    is_english = language == "en"

    def said(text: Text) -> str:
        return text[0] if is_english else text[1]

    panels: list[dict[str, Any]] = []
    y = 0
    for title, contents in ROWS:
        panels.append(_row(said(title), y, len(panels) + 1))
        y += 1
        x = 0
        for panel in contents:
            if x + panel.width > WIDTH:
                x, y = 0, y + panel.height
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append(_panel(panel, said, place, len(panels) + 1))
            x += panel.width
        y += contents[-1].height
    return {
        "uid": "perago-workers" if is_english else "perago-workers-zh",
        "title": "Perago workers" if is_english else "Perago worker",
        "description": said(
            (
                "Tasks and workers of Perago on VictoriaMetrics; made by deploy/grafana/generate.py",
                "VictoriaMetrics 上的 Perago task 与 worker；由 deploy/grafana/generate.py 生成",
            )
        ),
        "tags": ["perago"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "annotations": {"list": []},
        "templating": {"list": [_data_source(said), *(_variable(one, said) for one in VARIABLES)]},
        "panels": panels,
    }


def _row(title: str, y: int, number: int) -> dict[str, Any]:
    place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
    return {"type": "row", "title": title, "id": number, "gridPos": place, "collapsed": False, "panels": []}


def _panel(panel: Panel, said: Any, place: dict[str, int], number: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": panel.kind,
        "title": said(panel.title),
        "description": said(panel.description),
        "id": number,
        "gridPos": place,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "interval": PUSH_INTERVAL,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, **_thresholds(panel)},
            "overrides": [],
        },
        "options": _options(panel.kind),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "editorMode": "code",
                "expr": expression,
                "legendFormat": said(legend),
                "instant": panel.is_instant,
                "range": not panel.is_instant,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }
    if panel.kind == "timeseries":
        made["fieldConfig"]["defaults"]["custom"] = {"fillOpacity": 8, "showPoints": "never"}
    if panel.maximum is not None:
        made["fieldConfig"]["defaults"]["max"] = panel.maximum
    if panel.kind == "table":
        hidden = {"Time": True, "__name__": True}
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return made


def _thresholds(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    for colour, value in zip(("orange", "red"), panel.thresholds, strict=False):
        steps.append({"color": colour, "value": value})
    return {"thresholds": {"mode": "absolute", "steps": steps}}


def _options(kind: str) -> dict[str, Any]:
    if kind == "timeseries":
        legend = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "stat":
        calculation = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": calculation, "colorMode": "value", "graphMode": "area"}
    return {"showHeader": True}


def _data_source(said: Any) -> dict[str, Any]:
    label = said(("Data source", "数据源"))
    return {"name": "datasource", "label": label, "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(variable: Any, said: Any) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": said(variable.label),
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "regex": variable.pattern,
        "refresh": 2,
        "sort": 1,
        "multi": variable.is_multiple,
        "includeAll": variable.is_multiple,
        **({"allValue": ".*"} if variable.is_multiple else {}),
        "current": {},
        "hide": 0,
    }


def text(language: str) -> str:
    """Return the file of one language."""
    return json.dumps(dashboard(language), ensure_ascii=False, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check the files; return the exit code."""
    stale = []
    for language, name in LANGUAGES.items():
        path = FOLDER / name
        if arguments == ["--check"]:
            if not path.exists() or path.read_text(encoding="utf-8") != text(language):
                stale.append(name)
        else:
            path.write_text(text(language), encoding="utf-8")
    if stale:
        print(f"not up to date: {', '.join(stale)}; run deploy/grafana/generate.py", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
