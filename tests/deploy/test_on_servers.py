"""The files for operators on the real VictoriaMetrics and its alerting tools."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from integration.carrying import Carried, carry
from integration.measuring import CHUNKS, Measured, Server, Switches
from services.fetch import victoria_metrics_binary
from support.conductor import Conductor
from support.victoria_metrics import Naming, VictoriaMetrics
from support.waiting import until

from . import files

pytestmark = pytest.mark.services

# What only tasks with a workspace make, and what only trouble makes.
OF_WORKSPACES = ("workspace_io_",)
ONLY_IN_TROUBLE = ("otel.metric.overflow",)


@pytest.fixture(scope="module")
def run(
    real_victoria_metrics_url: str, embedded_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    """The run of a worker that pushes all its metrics, while it lives."""
    server = Server(
        VictoriaMetrics(f"{real_victoria_metrics_url}/opentelemetry/v1/metrics"), Naming.OPENTELEMETRY
    )
    run = Measured(server, Switches(attempts=True, workspace_io=True, worker_capacity=True))
    conductor = Conductor(f"{embedded_url}/api", "embedded")
    conductor.define(run.task)
    root = tmp_path_factory.mktemp("operators")
    with run.worker(root, conductor, "-j", "2", PERAGO_WORKER_METRICS="1"):

        def pushed() -> bool:
            return server.value("app.audio_chunks_count", task_name=run.task) == run.bodies * len(CHUNKS)

        # A rate needs totals that grow from one push to the next.
        for outcomes in (("completed", "failed"), ("completed", "failed", "exit", "completed")):
            for outcome in outcomes:
                run.run(conductor, outcome)
            until(pushed, "every sample")
        yield run


@pytest.mark.parametrize(("place", "query"), files.queries())
def test_a_query_is_understood_and_finds_what_there_is(run: Measured, place: str, query: str) -> None:
    found = run.server.store.query(files.filled(query, run.task))
    is_alert = place in {rule["alert"] for rule in files.rules()}
    if not is_alert and not any(part in query for part in (*OF_WORKSPACES, *ONLY_IN_TROUBLE)):
        assert found, f"{place} shows nothing: {query}"


@pytest.fixture(scope="module")
def carried(
    real_victoria_metrics_url: str, embedded_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Carried:
    """Runs of tasks with a workspace."""
    server = Server(
        VictoriaMetrics(f"{real_victoria_metrics_url}/opentelemetry/v1/metrics"), Naming.OPENTELEMETRY
    )
    conductor = Conductor(f"{embedded_url}/api", "embedded")
    return carry(server, conductor, embedded_url, tmp_path_factory.mktemp("carried"))


@pytest.mark.parametrize(
    "query", [query for _, query in files.queries() if any(part in query for part in OF_WORKSPACES)]
)
def test_a_query_about_workspaces_shows_every_operation(carried: Carried, query: str) -> None:
    found = carried.server.store.query(files.filled(query, carried.publishing))
    expected = {"download", "upload"} if "_bytes_" in query else {"download", "upload", "publish"}
    assert {sample.labels["operation"] for sample in found} == expected


@pytest.mark.parametrize("query", files.documented_queries("en"))
def test_a_query_of_the_guide_is_understood(run: Measured, query: str) -> None:
    found = run.server.store.query(query)
    assert found or "features-1" in query


def test_no_worker_metric_is_missing_from_the_store(run: Measured) -> None:
    shown = {
        labels["__name__"]
        for labels in run.server.store.series(f'{{__name__=~"perago[.].+",task_name="{run.task}"}}')
    }
    assert shown == {name for name in files.exported_names() if name.startswith("perago.")}


@pytest.mark.parametrize("variable", files.dashboard(files.DASHBOARDS[0])["templating"]["list"][1:])
def test_a_variable_of_the_dashboard_has_values(run: Measured, variable: dict[str, str]) -> None:
    selector, _, label = variable["definition"].removeprefix("label_values(").rstrip(")").rpartition(", ")
    found = run.server.store.series(files.filled(selector, run.task))
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
