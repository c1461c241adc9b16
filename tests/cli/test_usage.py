from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import perago
from support.command import CommandLine, environment, perago_command

from .modules import GOOD

COMMANDS = ["check", "run", "extract", "start", "status", "pause", "resume", "gc", "dev", "completion"]


def test_version(line: CommandLine) -> None:
    for option in ("--version", "-V"):
        ran = line.run(option)
        assert (ran.code, ran.stdout, ran.stderr) == (0, f"{perago.__version__}\n", "")


def test_help(line: CommandLine) -> None:
    ran = line.run("--help")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith("One typed function becomes a production task worker for Conductor\n")
    listed = re.findall(r"^  ([a-z]+) ", ran.stdout, flags=re.MULTILINE)
    assert set(COMMANDS) <= set(listed)
    for command in listed:
        own = line.run(command, "--help")
        assert (own.code, own.stderr) == (0, "")
        assert f"Usage: perago {command}" in own.stdout


def test_without_arguments_help_goes_to_standard_error(line: CommandLine) -> None:
    ran = line.run()
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr == line.run("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["frobnicate"], "error: unrecognized subcommand 'frobnicate'\n"),
        (["check"], "error: the following required arguments were not provided:\n  <MODULE>\n"),
        (["check", "a", "b"], "error: unexpected argument 'b' found\n"),
        (["check", "a", "--format", "yaml"], "error: invalid value 'yaml' for '--format <FORMAT>'\n"),
        (["extract", "a"], "error: the following required arguments were not provided:\n  --output <PATH>\n"),
        (["start", "a", "-j", "0"], "error: invalid value '0' for '--jobs <N>': 0 is not in 1..=1024\n"),
        (
            ["start", "a", "-j", "two"],
            "error: invalid value 'two' for '--jobs <N>': invalid digit found in string\n",
        ),
        (
            ["start", "a", "--execution-mode", "fork"],
            "error: invalid value 'fork' for '--execution-mode <EXECUTION_MODE>'\n",
        ),
        (["completion", "tcsh"], "error: invalid value 'tcsh' for '<SHELL>'\n"),
        (["dev", "--listen", "nowhere"], "error: invalid value 'nowhere' for '--listen <ADDRESS:PORT>'"),
    ],
)
def test_wrong_usage(line: CommandLine, arguments: list[str], error: str) -> None:
    ran = line.run(*arguments)
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr.startswith(error), ran.stderr


@pytest.mark.parametrize(
    ("shell", "beginning"), [("bash", "_perago() {"), ("zsh", "#compdef perago"), ("fish", "#")]
)
def test_completion(line: CommandLine, shell: str, beginning: str) -> None:
    ran = line.run("completion", shell)
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(beginning)
    assert all(command in ran.stdout for command in COMMANDS)
    if program := shutil.which(shell):
        path = line.write("script", ran.stdout)
        subprocess.run([program, "-n", str(path)], check=True)


def test_a_reader_that_goes_away_is_no_failure(line: CommandLine) -> None:
    line.write("good.py", GOOD)
    for arguments in (["completion", "bash"], ["check", "good"], ["check", "good", "--format", "json"]):
        process = subprocess.Popen(
            [*perago_command(), *arguments],
            cwd=line.cwd,
            env=environment(line.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 0


def test_the_module_is_a_command_too(line: CommandLine) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "perago", "--version"],
        env=environment(line.folder),
        cwd=Path("/"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{perago.__version__}\n"


def test_the_network_needs_a_key(line: CommandLine) -> None:
    ran = line.run("dev", "--listen", "0.0.0.0:0")
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: ")
    assert "hint: " in ran.stderr
