"""The files for operators on the real VictoriaMetrics and its alerting tools."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from integration.measuring import CHUNKS, Measured, Server, Switches
from services.fetch import victoria_metrics_binary
from support.conductor import Conductor
from support.victoria_metrics import Naming, VictoriaMetrics
from support.waiting import until

from . import files

pytestmark = pytest.mark.services

# What no worker exports before it runs tasks with a workspace, and what only trouble makes.
NO_DATA_YET = ("workspace_io_",)
ONLY_IN_TROUBLE = ("otel.metric.overflow",)


@pytest.fixture(scope="module")
def store(
    real_victoria_metrics_url: str, embedded_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VictoriaMetrics]:
    """The store while a worker with all its metrics pushes to it."""
    server = Server(
        VictoriaMetrics(f"{real_victoria_metrics_url}/opentelemetry/v1/metrics"), Naming.OPENTELEMETRY
    )
    run = Measured(server, Switches(attempts=True, workspace_io=True, worker_capacity=True))
    conductor = Conductor(f"{embedded_url}/api", "embedded")
    conductor.define(run.task)
    root = tmp_path_factory.mktemp("operators")
    with run.worker(root, conductor, "-j", "2", PERAGO_WORKER_METRICS="1"):
        for outcome in ("completed", "failed", "exit", "completed"):
            run.run(conductor, outcome)

        def pushed() -> bool:
            return server.value("app.audio_chunks_count", task_name=run.task) == run.bodies * len(CHUNKS)

        until(pushed, "every sample")
        seen_at = time.monotonic()
        # Rates need a second push of the same series.
        until(lambda: time.monotonic() - seen_at > 1, "another push")
        yield server.store


@pytest.mark.parametrize(("place", "query"), files.queries())
def test_a_query_is_understood_and_finds_what_there_is(
    store: VictoriaMetrics, place: str, query: str
) -> None:
    found = store.query(files.filled(query))
    is_alert = place in {rule["alert"] for rule in files.rules()}
    if not is_alert and not any(part in query for part in (*NO_DATA_YET, *ONLY_IN_TROUBLE)):
        assert found, f"{place} shows nothing: {query}"


def test_no_worker_metric_is_missing_from_the_store(store: VictoriaMetrics) -> None:
    shown = {labels["__name__"] for labels in store.series('{__name__=~"perago[.].+"}')}
    assert shown == {name for name in files.exported_names() if name.startswith("perago.")}


@pytest.mark.parametrize("variable", files.dashboard(files.DASHBOARDS[0])["templating"]["list"][1:])
def test_a_variable_of_the_dashboard_has_values(store: VictoriaMetrics, variable: dict[str, str]) -> None:
    selector, _, label = variable["definition"].removeprefix("label_values(").rstrip(")").rpartition(", ")
    found = store.series(files.filled(selector))
    assert {labels[label] for labels in found if label in labels}


def tool(name: str) -> str:
    """A program of the VictoriaMetrics package."""
    return str(victoria_metrics_binary().with_name(name))


def test_vmalert_accepts_the_rules_and_their_templates() -> None:
    command = [tool("vmalert"), f"-rule={files.RULES}", "-dryRun", "-rule.validateTemplates"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_rules_fire_on_trouble_and_on_nothing_else(tmp_path: Path) -> None:
    read = yaml.safe_load(files.RULES.read_text(encoding="utf-8"))
    for group in read["groups"]:
        for rule in group["rules"]:
            # The tool would compare every word of them.
            del rule["annotations"]
    (tmp_path / "perago.yml").write_text(yaml.safe_dump(read), encoding="utf-8")
    shutil.copy(Path(__file__).parent / "alerts.yml", tmp_path)
    command = [tool("vmalert-tool"), "unittest", "--disableAlertgroupLabel", "--files", "alerts.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout + done.stderr
