"""Control groups of one's own, on machines that let one make them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .waiting import until

MOUNT = Path("/sys/fs/cgroup")


class MemoryCgroup:
    """A cgroup below this process's own that can limit memory.

    Raises:
        OSError: The machine does not let us make one.

    """

    def __init__(self, name: str) -> None:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        groups = [line.split(":", 2)[1:] for line in lines]
        first = [path for controllers, path in groups if "memory" in controllers.split(",")]
        self.home = self._home(MOUNT / "memory", first[0]) if first else self._home(MOUNT, groups[-1][1])
        self.path = self.home / name
        self._limit = self.path / ("memory.limit_in_bytes" if first else "memory.max")
        self._usage = self.path / ("memory.usage_in_bytes" if first else "memory.current")
        self.path.mkdir()
        if not self._limit.exists():
            self.path.rmdir()
            raise OSError("the memory controller is not enabled here")

    @staticmethod
    def _home(mount: Path, path: str) -> Path:
        inside = mount / path.lstrip("/")
        return inside if inside.is_dir() else mount

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be a member, so that processes that are started are members too."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (self.home / "cgroup.procs").write_text(str(os.getpid()))

    def leave_bytes(self, count: int) -> None:
        """Limit the group to what it uses and `count` bytes more."""
        self._limit.write_text(str(int(self._usage.read_text()) + count))

    def fill_to(self, percent: int) -> None:
        """Limit the group so that what the kernel cannot take back from it is `percent` of the limit."""
        lines = (self.path / "memory.stat").read_text().splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
        # Version 1 counts the groups below apart; ours has none.
        files = stat["inactive_file"] + stat["active_file"] + stat.get("slab_reclaimable", 0)
        self._limit.write_text(str((int(self._usage.read_text()) - files) * 100 // percent))

    def remove(self) -> None:
        """Remove the group once its last process is gone."""

        def is_removed() -> bool:
            try:
                self.path.rmdir()
            except OSError:
                return False
            return True

        until(is_removed, "an empty cgroup")
