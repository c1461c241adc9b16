"""The command line, run as a user runs it but in an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SECRETS = {
    "CONDUCTOR_AUTH_KEY": "AUTHKEY-never-shown",
    "CONDUCTOR_AUTH_SECRET": "AUTHSECRET-never-shown",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "LAKEKEY-never-shown",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "LAKESECRET-never-shown",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "authorization=OTELHEADER-never-shown",
}
SECRET_TEXT = "never-shown"

_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")


def perago_command() -> list[str]:
    """Return the command beside this interpreter, else the module."""
    script = Path(sys.executable).with_name("perago")
    return [str(script)] if script.exists() else [sys.executable, "-m", "perago"]


def environment(root: Path, **values: str) -> dict[str, str]:
    """Return the variables of a process whose state, logs and workspaces live below `root`, and `values`."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    own = {
        "HOME": str(root / "home"),
        "XDG_STATE_HOME": str(root / "state"),
        "PERAGO_WORKSPACE_ROOT": str(root / "workspaces"),
        "PERAGO_LOG_ROOT": str(root / "logs"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {**inherited, **own, **values}


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


class CommandLine:
    """Runs commands in one folder; what they print has that folder written as `<cwd>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cwd = folder / "project"
        self.cwd.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *arguments: str, stdin: str = "", shows_traceback: bool = False, **values: str) -> Ran:
        """Run `perago ARGUMENTS` with further variables; ours never end in a traceback and show no secret.

        A traceback is shown where it is the author's.
        """
        done = subprocess.run(
            [*perago_command(), *arguments],
            cwd=self.cwd,
            env=environment(self.folder, **values),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        ran = Ran(done.returncode, self.normalised(done.stdout), self.normalised(done.stderr))
        for text in (ran.stdout, ran.stderr):
            assert shows_traceback or "Traceback (most recent call last)" not in text, text
            assert "panicked at" not in text, text
            assert SECRET_TEXT not in text, text
        return ran

    def normalised(self, text: str) -> str:
        """Replace what differs between machines and runs."""
        text = text.replace(str(self.cwd), "<cwd>").replace(str(self.folder), "<folder>")
        return re.sub(r"\bpid \d+", "pid <pid>", text)
