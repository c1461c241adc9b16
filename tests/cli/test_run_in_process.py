"""`perago run`: what ends it, and bodies in its own process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import uuid

import pytest

from support.command import CommandLine, environment, perago_command
from support.lake import Lake
from support.processes import MARK, marked
from support.waiting import until

from .modules import EDITING
from .running import COMPLETED, body, failing, run, timeless

WAITING = """\
import subprocess
import time
from pathlib import Path


def wait(folder):
    subprocess.Popen(["sleep", "300"])
    Path(folder, "runs").write_text("")
    time.sleep(300)
"""
KEYS = {"LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "key", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "secret"}


def started(line: CommandLine, *arguments: str, **values: str) -> subprocess.Popen[str]:
    """Start `perago run edit`, with folders of its own, as the leader of a group as in a terminal."""
    return subprocess.Popen(
        [*perago_command(), "run", "edit", "--params", "{}", *arguments],
        cwd=line.cwd,
        env=environment(line.folder, TMPDIR=str(line.folder), **values),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_everything(
        self, line: CommandLine, where: list[str], number: signal.Signals, lake: Lake, store: dict[str, str]
    ) -> None:
        line.write("waiting.py", WAITING)
        first = "    (workspace"
        wait = f"    import waiting\n    waiting.wait({str(line.cwd)!r})\n"
        line.write("edit.py", EDITING.replace(first, wait + first, 1))
        mark = uuid.uuid4().hex
        given = ["--repository", lake.name, "--ref", "main"]
        with started(line, *given, *where, **{MARK: mark}, **store) as process:
            until(lambda: (line.cwd / "runs").exists(), "the body runs")
            os.killpg(process.pid, number)
            stdout, stderr = process.communicate(timeout=30)
        until(lambda: not marked(mark), "what the body started has ended")
        assert (process.returncode, stdout) == (4, "")
        assert timeless(stderr) == (
            "downloaded 4 files, 19 B in <s> s (<rate>)\nwarning: stopped before the attempt had ended\n"
        )
        assert list((line.folder / "workspaces").glob("perago-run-*")) == []
        assert list(line.folder.glob("perago-run-*")) == []

    def test_a_signal_ends_the_wait_for_a_server(self, line: CommandLine) -> None:
        line.write("edit.py", EDITING)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            variables = {"LAKECTL_SERVER_ENDPOINT_URL": url, **KEYS}
            with started(line, "--repository", "r", "--ref", "main", **variables) as process:
                connection, _ = silent.accept()
                process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=30)
                connection.close()
        assert (process.returncode, stdout) == (4, "")
        assert stderr == "warning: stopped before the attempt had ended\n"


class TestInProcess:
    def test_breakpoints_work(self, line: CommandLine) -> None:
        line.write("stops.py", body("    breakpoint()\n    return Result(n=params.n)\n"))
        ran = run(
            line, "stops", "--params", '{"n": 3}', "--in-process", stdin="params.n = 4\np params.n\nc\n"
        )
        assert ran.code == 0
        assert "-> return Result(n=params.n)\n" in ran.stdout
        assert "(Pdb) 4\n" in ran.stdout
        assert ran.stdout.endswith(COMPLETED.replace("3", "4"))
        assert ran.stderr == ""

    def test_leaving_the_debugger_ends_the_run(self, line: CommandLine) -> None:
        line.write("stops.py", body("    breakpoint()\n    return Result(n=params.n)\n"))
        ran = run(line, "stops", "--params", '{"n": 3}', "--in-process", stdin="q\n")
        assert (ran.code, ran.stderr) == (4, "warning: stopped before the attempt had ended\n")
        assert "COMPLETED" not in ran.stdout

    def test_with_json_the_debugger_speaks_on_standard_error(self, line: CommandLine) -> None:
        line.write("stops.py", body("    breakpoint()\n    return Result(n=params.n)\n"))
        ran = run(line, "stops", "--params", '{"n": 3}', "--in-process", "--json", stdin="p params.n\nc\n")
        assert json.loads(ran.stdout)["result"] == {"n": 3}
        assert "(Pdb) 3\n" in ran.stderr

    def test_a_body_that_exits(self, line: CommandLine) -> None:
        line.write("ends.py", body("    import sys\n    sys.exit(3)\n"))
        ran = failing(line, "ends", "--params", '{"n": 3}', "--in-process")
        assert (ran.code, ran.stdout) == (1, "demo.good: FAILED, the body took <s> s\n")
        assert ran.stderr.startswith(
            "error: executor_exited: the body raised SystemExit, which ends its process\n"
        )

    def test_it_is_the_process_of_the_command(self, line: CommandLine) -> None:
        text = (
            "    import os, logging\n"
            "    logging.getLogger('app').info('here')\n"
            "    return Result(n=os.getpid())\n"
        )
        line.write("pid.py", body(text))
        command = [*perago_command(), "run", "pid", "--params", '{"n": 3}', "--in-process", "--json"]
        with subprocess.Popen(
            command,
            cwd=line.cwd,
            env=environment(line.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            stdout, stderr = process.communicate()
        assert (json.loads(stdout)["result"], stderr) == ({"n": process.pid}, "INFO app: here\n")
