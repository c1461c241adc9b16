"""The embedded services of one test, and what a test does with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from perago._kit.conductor import Conductor, WorkflowRun
from perago._kit.faults import Faults, control
from perago._kit.repository import KEY, EmbeddedRepository
from perago._kit.worker import WorkerProcess

_ANNOUNCEMENT = "listening: "
# Settings of the machine must not lead a test to a real server.
_NOT_INHERITED = ("CONDUCTOR_", "LAKECTL_", "OTEL_", "PERAGO_", "PYTHONPATH")


class EmbeddedServices:
    """A Conductor, a lakeFS and a receiver of metrics of a test's own; a context manager.

    They run in a process beside the test, know nothing of the machine's settings, and end with all workers
    that were started here.

    Args:
        folder: Where files of workers go.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._workers: list[tuple[str, WorkerProcess]] = []
        self._defined: dict[str, str] = {}
        command = [sys.executable, "-m", "perago", "dev", "--faults", "--listen", "127.0.0.1:0"]
        (folder / "empty").mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            command,
            cwd=folder / "empty",
            env=self._child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(_ANNOUNCEMENT):
            self.close()
            raise RuntimeError(f"`{' '.join(command)}` did not announce its address, but: {line!r}")
        self.url = line.removeprefix(_ANNOUNCEMENT).strip()
        """Base URL of all services."""
        self.conductor = Conductor(f"{self.url}/api")
        """A client of the Conductor: definitions, runs, queues."""
        self.faults = Faults(f"{self.url}/perago/faults")
        """What is to go wrong."""

    def __enter__(self) -> EmbeddedServices:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, then the services."""
        if self._process.poll() is None and self._workers:
            # Nothing may hold up a worker that is to end.
            self.faults.clear()
        for _, worker in self._workers:
            worker.end()
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a worker, or any client, to these services."""
        return {
            "CONDUCTOR_SERVER_URL": self.conductor.url,
            "LAKECTL_SERVER_ENDPOINT_URL": self.url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": KEY,
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{self.url}/opentelemetry/v1/metrics",
        }

    def advance(self, seconds: float) -> None:
        """Let time pass for the Conductor at once.

        Response timeouts, retry delays, leases and time limits that fall due on the way are due, in their
        order. No worker's clock moves, nor the store's.
        """
        control(f"{self.url}/perago/clock", "POST", {"advance_seconds": seconds})

    def define(self, module: str | ModuleType, **changes: Any) -> str:
        """Register the task of a module, and a workflow of the same name that runs it once; return that name.

        Args:
            module: The module, or its import path.
            changes: Fields of the TaskDef that are to differ, such as `retryDelaySeconds`.

        """
        name = _name(module)
        extracted = self._folder / "taskdef.json"
        command = [sys.executable, "-m", "perago", "extract", name, "-o", str(extracted)]
        ran = subprocess.run(
            command,
            cwd=self._folder / "empty",
            env=self._child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise AssertionError(f"perago extract {name}: {ran.stderr}")
        task = {**json.loads(extracted.read_text(encoding="utf-8")), **changes}
        self.conductor.register(task, has_workspace="workspace" in task["inputKeys"])
        self._defined[name] = task["name"]
        return str(task["name"])

    def worker(
        self,
        module: str | ModuleType,
        *arguments: str,
        host: str = "worker",
        kill_at: str = "",
        **variables: str,
    ) -> WorkerProcess:
        """Start a worker of a module's task and wait until it polls.

        Args:
            module: The module, or its import path.
            arguments: Further arguments of `perago start`.
            host: The name of its host. Workers of one host share their files: a second one there is the
                successor of the first, once that has ended.
            kill_at: The point of `KILL_POINTS` at which it or an executor kills itself; `:N` behind it for
                the N-th time.
            variables: Further environment variables.

        """
        name = _name(module)
        if name not in self._defined:
            self.define(name)
        root = self._folder / host
        environment = {
            **self._child_environment(),
            **self.environment,
            "PERAGO_WORKSPACE_ROOT": str(root / "workspaces"),
            "PERAGO_LOG_ROOT": str(root / "logs"),
            "PERAGO_STATE_DIR": str(root / "state"),
            "PERAGO_HOST_ID": host,
            "PERAGO_INSTANCE_ID": host,
            **({"PERAGO_FAULT_KILL_AT": kill_at} if kill_at else {}),
            **variables,
        }
        command = [sys.executable, "-m", "perago", "start", name, *arguments]
        worker = WorkerProcess(command, environment, root, self._folder / "empty")
        self._workers.append((name, worker))
        worker.wait_ready()
        return worker

    def start(
        self, module: str | ModuleType, params: Any, workspace: dict[str, str] | None = None, **request: Any
    ) -> str:
        """Start a run of a module's task; return its id.

        Args:
            module: The module, or its import path.
            params: The parameters, as JSON.
            workspace: The workspace of a workspace task, as `EmbeddedRepository.workspace` makes it.
            request: Further fields of the request that starts a workflow.

        """
        name = _name(module)
        task = self._defined[name] if name in self._defined else self.define(name)
        return self.conductor.start(task, params, workspace, **request)

    def wait(self, run: str, seconds: float = 60) -> WorkflowRun:
        """Wait for the end of a run.

        Raises:
            AssertionError: It has not ended in time.

        """
        shown = self.conductor.wait(run, seconds)
        return WorkflowRun(run, shown["status"], shown["tasks"])

    def run(
        self,
        module: str | ModuleType,
        params: Any,
        workspace: dict[str, str] | None = None,
        *,
        seconds: float = 60,
    ) -> WorkflowRun:
        """Run a module's task to its end, with a worker of its own where none of this module runs."""
        name = _name(module)
        is_served = any(theirs == name and worker.process.poll() is None for theirs, worker in self._workers)
        if is_served:
            return self.wait(self.start(module, params, workspace), seconds)
        with self.worker(module):
            return self.wait(self.start(module, params, workspace), seconds)

    def repository(self, files: dict[str, str | bytes] | None = None) -> EmbeddedRepository:
        """Make a repository with some files on its branch `main`."""
        return EmbeddedRepository(self.url, files or {})

    def _child_environment(self) -> dict[str, str]:
        # What the test can import, its workers can.
        libraries = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        folders = [str(Path(entry or ".").resolve()) for entry in sys.path]
        own = [folder for folder in folders if folder not in libraries and Path(folder).is_dir()]
        variables = {"PYTHONPATH": os.pathsep.join(own), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**_inherited(), **variables}


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}


def _name(module: str | ModuleType) -> str:
    return module if isinstance(module, str) else module.__name__
