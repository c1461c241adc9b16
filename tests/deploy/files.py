"""The dashboards and rules of `deploy/`, taken apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARDS = [ROOT / "deploy/grafana/perago.json", ROOT / "deploy/grafana/perago.zh-CN.json"]
RULES = ROOT / "deploy/vmalert/perago.yml"
WORKER_SOURCES = ROOT / "crates/perago-worker/src"

# The only metric of another program: https://docs.conductor-oss.org/documentation/metrics/server.html
FOREIGN = {"task_queue_depth"}
BUILT_IN_HISTOGRAMS = {
    "runtime.task_attempt_duration_seconds",
    "runtime.workspace_io_duration_seconds",
    "runtime.workspace_io_bytes",
}
BUILT_IN_GAUGES = {"runtime.busy_slots"}


def dashboard(path: Path) -> dict[str, Any]:
    """A dashboard."""
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def panels(path: Path) -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    read = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in read["groups"] for rule in group["rules"]]


def queries() -> list[tuple[str, str]]:
    """Every query of both files, with where it stands."""
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for panel in panels(DASHBOARDS[0]):
        found += [(panel["title"], target["expr"]) for target in panel["targets"]]
    return found


def documented_queries(language: str) -> list[str]:
    """The queries that the page for operators gives, in order."""
    page = ROOT / "docs" / language / "metrics-in-victoriametrics.md"
    return re.findall(r"\| `([^`]*__name__[^`]*)` \|$", page.read_text(encoding="utf-8"), re.MULTILINE)


def filled(query: str, task: str) -> str:
    """A query with Grafana's variables as a reader of the dashboard would have them."""
    values = {
        "$__rate_interval": "4m",
        "${metric}": "app.audio_chunks",
        "$gauge": "app.queue_depth",
        "$task": task,
    }
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def names(query: str) -> set[str]:
    """The metrics that a query names, by their names in OTLP."""
    found = set(re.findall(r'__name__=~?"([^"]+)"', query))
    found |= set(re.findall(r"\b(task_queue_depth)\b", query))
    return {name.replace("[._]", ".") for name in found}


def exported_names() -> set[str]:
    """What a worker exports besides its bodies' metrics, as series of the store."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in WORKER_SOURCES.rglob("*.rs"))
    calls = r'worker_(?:gauge|counter)\(\s*"(\w+)"|worker_key\(Kind::\w+,\s*"(\w+)"'
    worker = {f"perago.{first or second}" for first, second in re.findall(calls, text)}
    suffixes = ("bucket", "count", "sum")
    expanded = {f"{name}_{suffix}" for name in BUILT_IN_HISTOGRAMS for suffix in suffixes}
    return worker | expanded | BUILT_IN_GAUGES
