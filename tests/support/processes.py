"""Processes of one worker, found by a mark in their environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARK = "PERAGO_TEST_MARK"


@dataclass(frozen=True)
class Process:
    """One live process."""

    pid: int
    parent: int
    name: str
    command: str

    @property
    def is_guardian(self) -> bool:
        """Whether it is the guardian."""
        return self.name == "perago-guardian"

    @property
    def is_executor(self) -> bool:
        """Whether it runs bodies."""
        return "perago._executor" in self.command or "--perago-executor" in self.command


def marked(mark: str) -> list[Process]:
    """Return the live processes started with `PERAGO_TEST_MARK=mark`; zombies have no environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            name, rest = _stat(folder)
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        found.append(Process(int(folder.name), int(rest[1]), name, command))
    return sorted(found, key=lambda process: process.pid)


def _stat(folder: Path) -> tuple[str, list[str]]:
    """Read name and the fields from `state` on in `/proc/PID/stat` (proc(5))."""
    before, _, after = (folder / "stat").read_text(errors="replace").rpartition(")")
    return before.partition("(")[2], after.split()
