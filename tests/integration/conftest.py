"""VictoriaMetrics in both of its ways of naming: the one that the environment names, and one started here.

`PERAGO_RUN_VICTORIA_METRICS_TEST=1` runs this folder against the server behind
`OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`. The second way of naming needs a second server: one is started where a
binary is at hand, and must be where real services are asked for (`make test-services`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.fetch import fetched_victoria_metrics, victoria_metrics_binary
from services.fixtures import real_services_wanted
from services.processes import start_victoria_metrics, victoria_metrics_health
from support.conductor import Conductor
from support.said import say
from support.victoria_metrics import Naming, VictoriaMetrics

from .measuring import Server, naming_of

GATE = "PERAGO_RUN_VICTORIA_METRICS_TEST"
ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
NO_BINARY = "no VictoriaMetrics binary is at hand; make test-services fetches one"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect everything here unless it is asked for."""
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    if mine and os.environ.get(GATE) != "1":
        items[:] = [item for item in items if item not in set(mine)]
        config.hook.pytest_deselected(items=mine)
        say(config, f"real VictoriaMetrics: NOT RUN ({len(mine)} tests; {GATE}=1 runs them)")


@pytest.fixture(scope="session")
def embedded(embedded_url: str) -> Conductor:
    """The embedded Conductor engine."""
    return Conductor(f"{embedded_url}/api", "embedded")


@pytest.fixture(scope="session")
def configured_server(
    embedded: Conductor, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Server:
    """The server that the environment names."""
    endpoint = os.environ.get(ENDPOINT, "")
    if not endpoint:
        pytest.fail(f"{GATE}=1 needs {ENDPOINT}, the URL that metrics are pushed to")
    store = VictoriaMetrics(endpoint)
    naming = naming_of(store, embedded, tmp_path_factory.mktemp("probe"))
    say(pytestconfig, f"VictoriaMetrics behind {ENDPOINT}: {naming.value}")
    return Server(store, naming)


@pytest.fixture(scope="session")
def other_server(
    configured_server: Server, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Server]:
    """A server of our own that names the other way."""
    naming = configured_server.naming.other
    binary = _binary()
    if binary is None:
        say(pytestconfig, f"VictoriaMetrics with {naming.value}: NOT RUN ({NO_BINARY})")
        pytest.skip(NO_BINARY)
    wanted = "true" if naming is Naming.PROMETHEUS else "false"
    service = start_victoria_metrics(
        tmp_path_factory.mktemp("other-naming"),
        0,
        f"-opentelemetry.usePrometheusNaming={wanted}",
        binary=binary,
    )
    try:
        service.wait_until_ready(victoria_metrics_health(service))
        say(pytestconfig, f"VictoriaMetrics started by the tests: {naming.value}")
        yield Server(VictoriaMetrics(f"{service.url}/opentelemetry/v1/metrics"), naming)
    finally:
        service.stop()


@pytest.fixture(scope="module", params=["configured", "other"])
def server(request: pytest.FixtureRequest) -> Server:
    """Both servers, one after the other."""
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


def _binary() -> Path | None:
    if real_services_wanted():
        return victoria_metrics_binary()
    installed = shutil.which("victoria-metrics") or shutil.which("victoria-metrics-prod")
    return Path(installed) if installed else fetched_victoria_metrics()
