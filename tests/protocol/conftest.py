from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from services.fixtures import embedded_server
from support.lake import KEY, Lake

from .client import Conductor, Http


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.services)])
def conductor(request: pytest.FixtureRequest) -> Conductor:
    if request.param == "real":
        return Conductor("real", request.getfixturevalue("real_conductor_url"))
    return Conductor("embedded", request.getfixturevalue("embedded_url") + "/api")


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.services)])
def metrics_store(request: pytest.FixtureRequest) -> Http:
    real = request.param == "real"
    return Http(request.getfixturevalue("real_victoria_metrics_url" if real else "embedded_url"))


@pytest.fixture(scope="session")
def embedded_local_url() -> Iterator[str]:
    """An embedded store over a local folder, which signs no URLs."""
    with embedded_server("--object-store", "local") as url:
        yield url


@pytest.fixture(params=["s3", "local", pytest.param("real", marks=pytest.mark.lakefs)])
def lake(request: pytest.FixtureRequest) -> Lake:
    """A lakeFS server with a repository of the test's own."""
    if request.param == "real":
        names = ("SERVER_ENDPOINT_URL", "CREDENTIALS_ACCESS_KEY_ID", "CREDENTIALS_SECRET_ACCESS_KEY")
        namespace = os.environ.get("PERAGO_TEST_LAKEFS_NAMESPACE", "")
        return Lake("real", *(os.environ[f"LAKECTL_{name}"] for name in names), namespace)
    url = request.getfixturevalue("embedded_url" if request.param == "s3" else "embedded_local_url")
    return Lake("embedded", url, KEY, KEY)
