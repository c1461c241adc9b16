"""Containers made by hand: the first process id, a user without name and home, a read-only root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import Process
from .skips import not_allowed_here
from .waiting import until
from .worker import Worker

NAMELESS_ID = 12345

# Makes a command the first process of a namespace; whoever kills `unshare` kills them all.
AS_FIRST_PROCESS = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

# Only the volume can be written, whichever file systems are mounted. The interpreter may lie in a home that
# is closed to others, as an image would not have it: the process may read what root may, and no more.
_ON_ONE_VOLUME = """
volume=$1 user=$2
shift 2
mount --bind "$volume" "$volume"
while read -r _ target _ ; do
  case $target in "$volume" | /proc* | /sys*) ;; *) mount -o remount,bind,ro "$target" ;; esac
done < /proc/self/mounts
if touch /tmp/perago-suite-is-writable 2>/dev/null; then echo "the root can be written" >&2; exit 99; fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups \\
  --inh-caps +dac_read_search --ambient-caps +dac_read_search env -u HOME -u XDG_STATE_HOME -u USER "$@"
"""


def on_one_volume(volume: Path) -> tuple[str, ...]:
    """Return the wrapper for a process without user name and home that can write below `volume` alone."""
    return ("unshare", "--mount", "sh", "-euc", _ON_ONE_VOLUME, "sh", str(volume), str(NAMELESS_ID))


@contextmanager
def volume() -> Iterator[Path]:
    """Make a folder that a process without name can reach and write."""
    path = Path(tempfile.mkdtemp(prefix="perago-volume-"))
    try:
        path.chmod(0o755)
        try:
            os.chown(path, NAMELESS_ID, NAMELESS_ID)
        except PermissionError as error:
            not_allowed_here(f"a folder of another user: {error}")
        yield path
    finally:
        shutil.rmtree(path)


def refusal(wrapper: tuple[str, ...]) -> str | None:
    """Say why this machine cannot run our interpreter under a wrapper; `None` when it can."""
    command = [*wrapper, sys.executable, "-c", "import perago"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        return str(error)
    return None if ran.returncode == 0 else f"{ran.stderr.strip()} (exit status {ran.returncode})"


class FirstProcess:
    """The supervisor of a worker that was started with `AS_FIRST_PROCESS`."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.pid = until(self._found, "the first process").pid

    def _found(self) -> Process | None:
        children = [one for one in self.worker.processes() if one.parent == self.worker.process.pid]
        return children[0] if children else None

    def own_id(self) -> int:
        """Return its process id in its own namespace."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        ids = next(line for line in status.splitlines() if line.startswith("NSpid:"))
        return int(ids.split()[-1])

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.worker.wait()

    def kill(self) -> None:
        """Kill it, and with it every process of its namespace, as the end of a container does."""
        os.kill(self.pid, signal.SIGKILL)
        self.worker.wait()
        until(lambda: not self.worker.processes(), "the end of the namespace")

    def zombies(self) -> list[int]:
        """Return its children that have ended and were not collected."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                except OSError:
                    continue
                if state == "Z" and int(parent) == self.pid:
                    found.append(int(folder.name))
        return found

    def leave_orphan(self, folder: Path) -> None:
        """Start a program from outside, as `docker exec` does, whose parent ends before it."""
        script = f"(sleep 0.2; echo > {folder}/orphaned) & exit 0"
        command = ["nsenter", "--pid", "--target", str(self.pid), "sh", "-c", script]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
        until((folder / "orphaned").exists, "the orphan's end")
