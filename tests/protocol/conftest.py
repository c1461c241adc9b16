from __future__ import annotations

import pytest

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
