"""`perago start` that cannot start."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from support.command import SECRETS, CommandLine
from support.conductor import Conductor
from support.processes import MARK, marked
from support.worker import Worker

from .modules import GOOD, WORKSPACE

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def url(embedded_url: str) -> str:
    return embedded_url + "/api"


@pytest.fixture(autouse=True)
def modules(line: CommandLine) -> None:
    line.write("good.py", GOOD)


def test_without_a_server(line: CommandLine) -> None:
    ran = line.run("start", "good")
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "error: CONDUCTOR_SERVER_URL is required for perago start\n"
        "  hint: for example CONDUCTOR_SERVER_URL=http://localhost:8080/api; perago dev runs such a server\n"
    )


def test_a_dead_server(line: CommandLine) -> None:
    mark = uuid.uuid4().hex
    ran = line.run("start", "good", CONDUCTOR_SERVER_URL="http://127.0.0.1:9/api", **{MARK: mark})
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "error: failed to validate Conductor TaskDef: failed to read a TaskDef on http://127.0.0.1:9/api: "
        "cannot connect: Connection refused (os error 111)\n"
        "  hint: check CONDUCTOR_SERVER_URL and that the Conductor server is running\n"
    )
    assert marked(mark) == []


def test_a_task_that_is_not_registered(line: CommandLine, url: str) -> None:
    ran = line.run("start", "good", CONDUCTOR_SERVER_URL=url)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "error: Conductor TaskDef 'demo.good' is not registered; "
        "run perago extract and register it before start\n"
        "  hint: POST the file to /api/metadata/taskdefs as a one-element array\n"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def broken(:\n", "error: SyntaxError: invalid syntax\n  --> <cwd>/broken.py:1\n"),
        (
            "import absent\n",
            "error: ModuleNotFoundError: No module named 'absent'\n  --> <cwd>/broken.py:1\n",
        ),
        (
            "import os\nos._exit(9)\n",
            "error: the executor process exited with status 9 while it imported the module\n",
        ),
        (
            "import ctypes\nctypes.string_at(0)\n",
            "error: the executor process was killed by SIGSEGV while it imported the module\n",
        ),
    ],
)
def test_a_module_that_cannot_be_imported(line: CommandLine, url: str, text: str, error: str) -> None:
    line.write("broken.py", text)
    mark = uuid.uuid4().hex
    ran = line.run("start", "broken", "-j", "2", CONDUCTOR_SERVER_URL=url, **{MARK: mark})
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith(error), ran.stderr
    assert marked(mark) == []


def test_a_second_supervisor_on_one_root(line: CommandLine, url: str, tmp_path: Path) -> None:
    conductor = Conductor(url, "embedded")
    conductor.define("cli.second")
    root = tmp_path / "first"
    with Worker(root, url, "cli.second"):
        ran = line.run(
            "start", "good", CONDUCTOR_SERVER_URL=url, PERAGO_WORKSPACE_ROOT=str(root / "workspaces")
        )
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "error: <folder>/first/workspaces/.perago-supervisor.lock is already locked by supervisor pid <pid>\n"
        "  hint: stop that worker, or give this one its own PERAGO_WORKSPACE_ROOT\n"
    )


def test_a_task_with_metrics_needs_endpoint_and_instance(line: CommandLine, url: str) -> None:
    line.write("metered.py", (EXAMPLES / "metadata_validate.py").read_text())
    ran = line.run("start", "metered", CONDUCTOR_SERVER_URL=url)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is required")
    endpoint = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9/opentelemetry/v1/metrics"}
    ran = line.run("start", "metered", CONDUCTOR_SERVER_URL=url, **endpoint)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: PERAGO_INSTANCE_ID is required")


def test_a_task_with_a_workspace(line: CommandLine, url: str) -> None:
    line.write("files.py", WORKSPACE)
    ran = line.run("start", "files", CONDUCTOR_SERVER_URL=url)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: LakeFS config is required for workspace tasks\n")


def test_secrets_stay_out_of_every_stream(line: CommandLine, tmp_path: Path) -> None:
    # The command line helper looks for them in all that is printed.
    variables = {
        "CONDUCTOR_SERVER_URL": "http://127.0.0.1:9/api",
        "LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    ran = line.run("start", "good", **variables, **SECRETS)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: failed to validate Conductor TaskDef: ")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"never-shown" not in path.read_bytes(), path
