"""Workers: started, watched, stopped, killed."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import IO, Any

from .command import SECRET_TEXT, environment, perago_command
from .processes import MARK, Process, marked
from .waiting import PATIENCE_SECONDS, until

# Signals that are closer together than this count as one; the rest is for a slow machine.
ONE_ORDER_SECONDS = 0.03 + 0.05

MODULES = Path(__file__).resolve().parents[1] / "worker" / "modules"


class Worker:
    """One `perago start` with folders of its own below `root`; a context manager that leaves nothing behind.

    Args:
        root: State, logs and workspaces live here; another worker on the same folder is its successor.
        url: Conductor's API base.
        task: The name of the task that the scenario module declares.
        module: The module to start.
        program: A binary of tasks in Rust, which is started instead.
        arguments: Further arguments of `perago start`.
        poll_timeout: The longest poll; each stop waits for the one that is under way, and the suites stop
            hundreds of workers. None leaves the default.
        variables: Further environment variables.
    """

    def __init__(
        self,
        root: Path,
        url: str,
        task: str,
        *arguments: str,
        module: str = "scenario",
        program: Path | None = None,
        poll_timeout: str | None = "200ms",
        **variables: str,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.mark = uuid.uuid4().hex
        command = [*perago_command(), "start", module] if program is None else [str(program), "start"]
        self._arguments = [*command, *arguments]
        own = {
            "CONDUCTOR_SERVER_URL": url,
            "PERAGO_HOST_ID": "testhost",
            "PERAGO_WORKER_ID_PREFIX": "suite",
            "SUITE_TASK": task,
            MARK: self.mark,
        }
        if poll_timeout is not None:
            own["PERAGO_POLL_TIMEOUT"] = poll_timeout
        self._environment = environment(root, **{**own, **variables})
        self.stderr: list[str] = []
        self.started_at = time.monotonic()
        self.seconds_to_ready = 0.0
        with (root / "stdout").open("ab") as stdout:
            self.process = subprocess.Popen(
                self._arguments,
                cwd=MODULES,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )

    def __enter__(self) -> Worker:
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait_ready(self) -> None:
        """Wait for the line that says that it polls (or is paused)."""
        self._read_stderr_until(("polling: ", "paused, not polling: "))
        self.seconds_to_ready = time.monotonic() - self.started_at

    def _read_stderr_until(self, beginnings: tuple[str, ...]) -> None:
        stream = self._stderr()
        os.set_blocking(stream.fileno(), False)
        deadline = time.monotonic() + PATIENCE_SECONDS
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not any(line.startswith(beginnings) for line in self.stderr):
                assert selector.select(deadline - time.monotonic()), f"no word of readiness in {self.stderr}"
                chunk = os.read(stream.fileno(), 65536)
                assert chunk, f"ended with {self.process.wait(10)} before it was ready: {self.stderr}"
                *lines, pending = (pending + chunk).split(b"\n")
                self.stderr += [line.decode() for line in lines]
        if pending:
            self.stderr.append(pending.decode())

    def _stderr(self) -> IO[bytes]:
        assert self.process.stderr is not None
        return self.process.stderr

    def signal(self, number: int = signal.SIGTERM) -> float:
        """Send a signal to the supervisor alone; return the moment."""
        moment = time.monotonic()
        self.process.send_signal(number)
        return moment

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the supervisor's end; return its exit code."""
        code = self.process.wait(seconds)
        stream = self._stderr()
        if not stream.closed:
            os.set_blocking(stream.fileno(), True)
            self.stderr += stream.read().decode().splitlines()
            stream.close()
        return code

    def stop(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Send SIGTERM and wait; return the exit code."""
        self.signal()
        return self.wait(seconds)

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

    def processes(self) -> list[Process]:
        """Return every live process that belongs to this worker."""
        return marked(self.mark)

    def executors(self) -> list[Process]:
        """Return the processes that run bodies."""
        return [process for process in self.processes() if process.is_executor]

    def guardian(self) -> Process:
        """Return the guardian."""
        return next(process for process in self.processes() if process.is_guardian)

    def log_files(self) -> list[Path]:
        """Return the files of the log, of earlier workers on the same root too."""
        return list((self.root / "logs").rglob("*.jsonl"))

    def records(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Return the records of the log with this event and these fields, those of earlier workers first."""
        logs = sorted((log for log in map(_written, self.log_files()) if log), key=lambda log: log[0]["time"])
        return [
            record
            for log in logs
            for record in log
            if (event is None or record["event"] == event) and fields.items() <= record.items()
        ]

    def wait_record(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for a record of the log; return the first."""
        return until(lambda: self.records(event, **fields), f"a record {event} {fields}")[0]


def _written(log: Path) -> list[dict[str, Any]]:
    """Return the records of one file. A line that is being written may be seen in part; it has no end yet."""
    *lines, _ = log.read_text().split("\n")
    return [json.loads(line) for line in lines]
