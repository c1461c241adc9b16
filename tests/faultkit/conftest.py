from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perago.testing import EmbeddedServices

MODULES = Path(__file__).parent / "modules"


@contextmanager
def modules_on_path() -> Iterator[None]:
    """Let workers import the tasks of these tests, as this process can."""
    sys.path.insert(0, str(MODULES))
    yield
    sys.path.remove(str(MODULES))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServices]:
    """Services that all tests of a module share; the authors' fixture gives each test its own."""
    with modules_on_path(), EmbeddedServices(tmp_path_factory.mktemp("kit")) as services:
        yield services


@pytest.fixture(autouse=True)
def _no_fault_stays(services: EmbeddedServices) -> Iterator[None]:
    yield
    services.faults.clear()
