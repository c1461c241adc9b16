"""Workers: started, watched, stopped, killed."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from perago._kit.worker import WorkerProcess

from .command import SECRET_TEXT, environment, perago_command
from .processes import MARK, Process, marked
from .waiting import until

# Signals that are closer together than this count as one; the rest is for a slow machine.
ONE_ORDER_SECONDS = 0.03 + 0.05

MODULES = Path(__file__).resolve().parents[1] / "worker" / "modules"


def other_code(root: Path) -> str:
    """Return the folder of a copy of the modules that differs from them by a comment."""
    copy = root / "other code"
    shutil.copytree(MODULES, copy)
    for module in copy.glob("*.py"):
        with module.open("a") as file:
            file.write("# changed\n")
    return str(copy)


class Worker(WorkerProcess):
    """One `perago start` with folders of its own below `root`; a context manager that leaves nothing behind.

    Args:
        root: State, logs and workspaces live here; another worker on the same folder is its successor.
        url: Conductor's API base.
        task: The name of the task that the scenario module declares.
        module: The module to start.
        modules: The folder that it is in.
        program: A binary of tasks in Rust, which is started instead.
        arguments: Further arguments of `perago start`.
        poll_timeout: The longest poll; each stop waits for the one that is under way, and the suites stop
            hundreds of workers. None leaves the default.
        wrapper: A command that runs the one behind it.
        variables: Further environment variables.
    """

    def __init__(
        self,
        root: Path,
        url: str,
        task: str,
        *arguments: str,
        module: str = "scenario",
        wrapper: Sequence[str] = (),
        modules: str = str(MODULES),
        program: Path | None = None,
        poll_timeout: str | None = "200ms",
        **variables: str,
    ) -> None:
        self.mark = uuid.uuid4().hex
        own = {
            "CONDUCTOR_SERVER_URL": url,
            "PERAGO_HOST_ID": "testhost",
            "PERAGO_WORKER_ID_PREFIX": "suite",
            "SUITE_TASK": task,
            MARK: self.mark,
        }
        if poll_timeout is not None:
            own["PERAGO_POLL_TIMEOUT"] = poll_timeout
        start = [*perago_command(), "start", module] if program is None else [str(program), "start"]
        command = [*wrapper, *start, *arguments]
        self._environment = environment(root, **{**own, **variables})
        super().__init__(command, self._environment, root, Path(modules))

    def __enter__(self) -> Worker:
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def end(self) -> None:
        """Stop what still lives, and prove that nothing is left and that no secret was written."""
        if self.process.poll() is None:
            self.signal()
            try:
                self.process.wait(ONE_ORDER_SECONDS)
            except subprocess.TimeoutExpired:
                self.signal()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.wait()
        until(lambda: not self.processes(), f"the end of {self.processes()}", 10)
        for path in self.log_files():
            assert SECRET_TEXT not in path.read_text(), path
        said = "\n".join(self.stderr)
        assert "panicked at" not in said, said
        assert SECRET_TEXT not in said, said

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `perago ARGUMENTS` in the environment of this worker, as its operator would."""
        return subprocess.run(
            [*perago_command(), *arguments],
            cwd=MODULES,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def processes(self) -> list[Process]:
        """Return every live process that belongs to this worker."""
        return marked(self.mark)

    def executors(self) -> list[Process]:
        """Return the processes that run bodies."""
        return [process for process in self.processes() if process.is_executor]

    def guardian(self) -> Process:
        """Return the guardian."""
        return next(process for process in self.processes() if process.is_guardian)
