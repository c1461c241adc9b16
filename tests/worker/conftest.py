from __future__ import annotations

import itertools
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cgroups import MemoryCgroup
from support.conductor import Conductor
from support.metrics import MetricStore
from support.proxy import Proxy
from support.rust import rust_program
from support.skips import not_allowed_here
from support.worker import Worker

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session", params=["embedded", pytest.param("real", marks=pytest.mark.services)])
def conductor(request: pytest.FixtureRequest) -> Conductor:
    """Both servers, one after the other."""
    if request.param == "real":
        return Conductor(request.getfixturevalue("real_conductor_url"), "real")
    return Conductor(request.getfixturevalue("embedded_url") + "/api", "embedded")


def new_task_name() -> str:
    """Return a task name that no other test uses."""
    return f"suite.{uuid.uuid4().hex[:8]}.{next(_NUMBERS)}"


@pytest.fixture(scope="module", params=["python", "rust"])
def language(request: pytest.FixtureRequest) -> str:
    """Both languages, one after the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def scenario(language: str) -> Path | None:
    """The scenario task of a language, as `program` of a worker: None is the Python module."""
    return rust_program("scenario") if language == "rust" else None


@pytest.fixture
def task_name() -> str:
    return new_task_name()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a body and its test meet."""
    path = tmp_path / "meeting"
    path.mkdir()
    return path


class Shared:
    """A worker that many tests of a module use, with its server and task."""

    def __init__(self, conductor: Conductor, worker: Worker, task: str) -> None:
        self.conductor = conductor
        self.worker = worker
        self.task = task

    def start(self, action: str, **params: object) -> str:
        """Start a run."""
        return self.conductor.start(self.task, {"action": action, **params})

    def run(self, action: str, **params: object) -> dict[str, object]:
        """Start a run and wait for the end of its only attempt."""
        return self.conductor.wait_task(self.start(action, **params))


@pytest.fixture(scope="module")
def shared(conductor: Conductor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    task = new_task_name()
    conductor.define(task)
    with Worker(tmp_path_factory.mktemp("shared"), conductor.url, task, "-j", "2") as worker:
        yield Shared(conductor, worker, task)


@pytest.fixture
def proxy(conductor: Conductor) -> Iterator[Proxy]:
    with Proxy(conductor.url) as proxy:
        yield proxy


@pytest.fixture
def store(conductor: Conductor, request: pytest.FixtureRequest) -> MetricStore:
    """The embedded receiver beside the embedded engine, the real store beside the real one."""
    if conductor.kind == "real":
        return MetricStore(request.getfixturevalue("real_victoria_metrics_url"))
    return MetricStore(request.getfixturevalue("embedded_url"))


@pytest.fixture
def settings(store: MetricStore, tmp_path: Path) -> dict[str, str]:
    """Variables of a worker whose series no other test has."""
    return {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": store.endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "PERAGO_INSTANCE_ID": f"suite-{tmp_path.name}-{os.getpid()}",
    }


@pytest.fixture
def memory() -> Iterator[MemoryCgroup]:
    """A cgroup of our own that can limit memory."""
    try:
        group = MemoryCgroup(f"perago-suite-{os.getpid()}")
    except OSError as error:
        not_allowed_here(f"a cgroup that limits memory: {error}")
    yield group
    group.remove()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        not_allowed_here(f"a file system of our own: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
