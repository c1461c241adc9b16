"""Workers as processes of a test: started, watched, stopped, killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from perago._kit.waiting import PATIENCE_SECONDS, until

READY = ("polling: ", "paused, not polling: ")


class WorkerProcess:
    """One worker whose state, logs and workspaces live below `folder`; a context manager that ends it.

    Another worker on the same folder is its successor.

    Args:
        command: The command line.
        environment: All variables of the process.
        folder: Where its files are.
        cwd: The directory to start in.

    """

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path, cwd: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root = folder
        self._errors = folder / f"stderr-{uuid.uuid4().hex}"
        self.started_at = time.monotonic()
        self.seconds_to_ready = 0.0
        with (folder / "stdout").open("ab") as stdout, self._errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The process id of the supervisor, whose executors are processes of their own."""
        return self.process.pid

    @property
    def stderr(self) -> list[str]:
        """The lines that it has written to its standard error."""
        return self._errors.read_text(encoding="utf-8", errors="replace").splitlines()

    def wait_ready(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for the line that says that it polls, or that it is paused.

        Raises:
            AssertionError: It ended before, or says nothing in time.

        """
        until(self._is_ready, f"a worker's word of readiness, in {self._errors}", seconds)
        self.seconds_to_ready = time.monotonic() - self.started_at

    def _is_ready(self) -> bool:
        # Looked at before the lines: what has ended writes no more of them.
        code = self.process.poll()
        # Nor is one half written: what follows the last end of a line is not looked at.
        whole, _, _ = self._errors.read_text(encoding="utf-8", errors="replace").rpartition("\n")
        if any(line.startswith(READY) for line in whole.splitlines()):
            return True
        if code is not None:
            raise AssertionError(f"the worker ended with {code} before it was ready: {self.stderr}")
        return False

    def signal(self, number: int = signal.SIGTERM) -> float:
        """Send a signal to the supervisor alone; return the moment."""
        moment = time.monotonic()
        self.process.send_signal(number)
        return moment

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the supervisor's end; return its exit code, negative for the number of a signal."""
        return self.process.wait(seconds)

    def stop(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Send SIGTERM: it takes no more tasks and ends after those that run. Return the exit code."""
        self.signal()
        return self.wait(seconds)

    def kill(self) -> None:
        """Kill the supervisor, and with it all that it has started (SIGKILL); return when it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """Stop what still lives: by SIGTERM, told again at once, and at last by SIGKILL."""
        for _ in range(2):
            if self.process.poll() is not None:
                return
            self.signal()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                continue
        if self.process.poll() is None:
            self.kill()

    def log_files(self) -> list[Path]:
        """Return the files of the log, of earlier workers on the same folder too."""
        return list((self.root / "logs").rglob("*.jsonl"))

    def records(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Return the records of the log with this event and these fields, those of earlier workers first."""
        logs = sorted(
            (log for log in map(_written, self.log_files()) if log), key=lambda log: str(log[0]["time"])
        )
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
    *lines, _ = log.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines]
