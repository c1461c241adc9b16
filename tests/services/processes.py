"""Starts the real servers on free ports with data in a folder, waits for readiness, stops them reliably."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .fetch import ServiceUnavailable, conductor_jar, find_java, victoria_metrics_binary

STOP_SECONDS = 10.0
READY_SECONDS = 480.0
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Service:
    """One started server: its base URL, and the process group that it leads."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """End the server: SIGTERM, then SIGKILL of its whole group after ten seconds."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
                return

    def wait_until_ready(self, health_url: str) -> None:
        """Wait until `health_url` answers 200; raise `ServiceUnavailable` with the log's end otherwise."""
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(health_url):
            if self.process.poll() is not None:
                raise ServiceUnavailable(
                    f"{self.name} ended with exit code {self.process.returncode}:\n{self.tail()}"
                )
            if time.monotonic() > deadline:
                self.stop()
                raise ServiceUnavailable(
                    f"{self.name} was not ready after {READY_SECONDS:.0f} s:\n{self.tail()}"
                )
            time.sleep(POLL_SECONDS)

    def tail(self) -> str:
        """Return the last lines of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def start_conductor(folder: Path, port: int = 0) -> Service:
    """Start the real Conductor with sqlite under `folder`; it is ready when `conductor_health` answers."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [
        str(find_java()),
        "-Xmx1g",
        "-XX:+UseSerialGC",
        "-jar",
        str(conductor_jar()),
        f"--server.port={port}",
        "--server.address=127.0.0.1",
        "--conductor.scheduler.enabled=false",
        f"--spring.datasource.url=jdbc:sqlite:{folder / 'conductor.db'}?busy_timeout=15000&journal_mode=WAL",
    ]
    return _start("Conductor", command, folder, port)


def start_victoria_metrics(
    folder: Path, port: int = 0, *arguments: str, binary: Path | None = None
) -> Service:
    """Start the real VictoriaMetrics with its storage under `folder`; returns before it is ready.

    Without `binary` the one of Debian's package is fetched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [
        str(binary or victoria_metrics_binary()),
        f"-storageDataPath={folder / 'storage'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=0s",
        "-search.disableCache",
        *arguments,
    ]
    return _start("VictoriaMetrics", command, folder, port)


def conductor_health(service: Service) -> str:
    """Return the URL that answers 200 once this Conductor is ready."""
    return f"{service.url}/health"


def victoria_metrics_health(service: Service) -> str:
    """Return the URL that answers 200 once this VictoriaMetrics is ready."""
    return f"{service.url}/health"


def free_port() -> int:
    """Return a TCP port that is free on the loopback interface now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _start(name: str, command: list[str], folder: Path, port: int) -> Service:
    log = folder / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Service(name, f"http://127.0.0.1:{port}", process, log)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
