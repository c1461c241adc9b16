"""What a service manager hears of a worker: sd_notify over a datagram socket."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.waiting import PATIENCE_SECONDS, until
from support.worker import Worker

WATCHDOG_SECONDS = 1.0


class Manager:
    """The manager's end. It always listens: the kernel keeps ten messages and refuses the next."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.name)
        self._messages: queue.Queue[str] = queue.Queue()
        self.heard: list[str] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        while message := self._socket.recv(4096).decode():
            self._messages.put(message)

    def wait_for(self, wanted: str) -> str:
        """Wait for a message that begins with `wanted`; return it."""
        while True:
            self.heard.append(self._messages.get(timeout=PATIENCE_SECONDS))
            if self.heard[-1].startswith(wanted):
                return self.heard[-1]

    def forget(self) -> None:
        """What has come until now does not count."""
        while not self._messages.empty():
            self.heard.append(self._messages.get())

    def close(self) -> None:
        # An empty message ends the listener.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.sendto(b"", self.name)
        self._listener.join()
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    # The path of a socket is short: that of the test may not be.
    folder = Path(f"/tmp/perago-notify-{os.getpid()}-{time.monotonic_ns()}")
    folder.mkdir()
    manager = Manager(folder / "notify")
    yield manager
    manager.close()
    (folder / "notify").unlink()
    folder.rmdir()


def environment_of(pid: int) -> set[str]:
    names = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {name.partition(b"=")[0].decode() for name in names}


def test_start_state_watchdog_and_end(
    conductor: Conductor, task_name: str, tmp_path: Path, manager: Manager, folder: Path
) -> None:
    conductor.define(task_name)
    variables = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1_000_000))}
    with Worker(tmp_path, conductor.url, task_name, "-j", "2", **variables) as worker:
        assert manager.wait_for("READY=1") == f"READY=1\nSTATUS={task_name}: polling with 2 slots"
        assert "STATUS=starting" in manager.heard
        assert "WATCHDOG=1" in manager.heard, "an import may be longer than the watchdog allows"
        manager.wait_for("WATCHDOG=1")
        began = time.monotonic()
        for _ in range(3):
            manager.wait_for("WATCHDOG=1")
        assert (time.monotonic() - began) / 3 < WATCHDOG_SECONDS, "slower than allowed"

        run = conductor.start(task_name, {"action": "child", "folder": str(folder)})
        until(lambda: (folder / "child").exists() and (folder / "started").exists(), "the body's child")
        started = [process.pid for process in worker.executors()] + [int((folder / "child").read_text())]
        for pid in started:
            names = environment_of(pid)
            assert "SUITE_TASK" in names
            assert not names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

        worker.signal()
        assert manager.wait_for("STOPPING=1").startswith(f"STOPPING=1\nSTATUS={task_name}: draining")
        # A drain may take hours: the watchdog goes on.
        manager.forget()
        manager.wait_for("WATCHDOG=1")
        (folder / "go").touch()
        assert worker.wait() == 0
        assert conductor.wait(run)["status"] == "COMPLETED"


def test_the_watchdog_of_another_process_is_left_alone(
    conductor: Conductor, task_name: str, tmp_path: Path, manager: Manager
) -> None:
    conductor.define(task_name)
    variables = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
    with Worker(tmp_path, conductor.url, task_name, **variables) as worker:
        manager.wait_for("READY=1")
        assert worker.stop() == 0
        manager.wait_for("STOPPING=1")
    assert "WATCHDOG=1" not in manager.heard


def test_a_manager_that_is_not_there_is_a_warning(
    conductor: Conductor, task_name: str, tmp_path: Path
) -> None:
    conductor.define(task_name)
    with Worker(tmp_path, conductor.url, task_name, NOTIFY_SOCKET="nonsense") as worker:
        assert "absolute path" in worker.wait_record("service_manager_unreachable")["error"]
        run = conductor.start(task_name, {"action": "echo"})
        assert conductor.wait(run)["status"] == "COMPLETED"
    gone = str(tmp_path / "gone")
    with Worker(tmp_path / "gone-too", conductor.url, task_name, NOTIFY_SOCKET=gone) as worker:
        assert worker.stop() == 0
