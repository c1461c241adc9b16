from __future__ import annotations

import pytest

from support.conductor import Conductor

from .stores import WholeStore


@pytest.fixture
def conductor(embedded_url: str) -> Conductor:
    """The embedded engine: what is broken here is on our side and in the store."""
    return Conductor(embedded_url + "/api", "embedded")


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest) -> WholeStore:
    """Both stores, one after the other."""
    if request.param == "real":
        return WholeStore(request.getfixturevalue("real_victoria_metrics_url"))
    return WholeStore(request.getfixturevalue("embedded_url"))
