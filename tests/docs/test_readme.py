"""What the READMEs tell a new user to do, done."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from support.command import environment, perago_command

from . import pages

PORT = "127.0.0.1:8080"

# A command whose answer comes a moment later, and what the answer then holds.
AWAITED = {"/status": '"COMPLETED"', "/query": '"value"'}

PREAMBLE = """
set -eu
background=""
trap 'for pid in $background; do kill -KILL "$pid" 2>/dev/null || true; done' EXIT
until_shown() {  # FILE TEXT PID
  for _ in $(seq 600); do
    if grep -qF -- "$2" "$1"; then return 0; fi
    kill -0 "$3" 2>/dev/null || break
    sleep 0.05
  done
  cat "$1" >&2
  return 1
}
until_answered() {  # FILE TEXT COMMAND
  for _ in $(seq 600); do
    if eval "$3" > "$1" && grep -qF -- "$2" "$1"; then return 0; fi
    sleep 0.05
  done
  cat "$1" >&2
  return 1
}
"""

# The worker first: it still talks to the server.
EPILOGUE = """
set -- $background
kill -TERM "$2"; wait "$2"
kill -TERM "$1"; wait "$1"
background=""
"""


class Command(NamedTuple):
    """One command of a console block, and the output shown below it."""

    text: str
    shown: list[str]


def files(page: Path) -> dict[str, str]:
    """The files that a page asks its reader to save."""
    pattern = r"`([\w.]+)`[^`\n]*[:：]\n\n```\w+\n(.*?)^```$"
    found = dict(re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    assert set(found) == {"count_words.py", "count_words.workflow.json"}
    return found


def commands(page: Path) -> list[Command]:
    """The commands of all console blocks, without those that build the project."""
    found: list[Command] = []
    for block in pages.blocks(page, "console"):
        for line in block.text.splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:], []))
            else:
                found[-1].shown.append(line)
    return [command for command in found if not command.text.startswith("make ")]


def script(commands: list[Command], address: str) -> str:
    """Commands as one script; output goes to files by the number of the command."""
    lines = [PREAMBLE]
    for number, command in enumerate(commands):
        text = command.text.replace(PORT, address)
        output = f"{number}.out"
        awaited = next((answer for part, answer in AWAITED.items() if part in text), None)
        if text.endswith(" dev &"):
            text = f"{text[:-2]} --listen {address} &"
        if text.endswith(" &"):
            wanted = command.shown[0].partition(": ")[0] + ": "
            lines.append(f"{text[:-2]} > {output} 2>&1 &")
            lines.append(f'background="$background $!"; until_shown {output} {shlex.quote(wanted)} $!')
        elif awaited is not None:
            lines.append(f"until_answered {output} {shlex.quote(awaited)} {shlex.quote(text)}")
        elif re.match(r"(export |\w+=)", text):
            lines.append(text)
        else:
            lines.append(f"{text} > {output}")
    return "\n".join([*lines, EPILOGUE])


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def on_path(folder: Path) -> str:
    """A folder with the command, for PATH."""
    script_path = folder / "bin/perago"
    script_path.parent.mkdir()
    script_path.write_text(f'#!/bin/sh\nexec {shlex.join(perago_command())} "$@"\n', encoding="utf-8")
    script_path.chmod(0o755)
    return str(script_path.parent)


def save(page: Path, folder: Path) -> None:
    folder.mkdir()
    for name, text in files(page).items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("page", pages.READMES, ids=lambda page: page.name)
def test_the_first_task_passes_check(page: Path, tmp_path: Path) -> None:
    save(page, tmp_path / "project")
    done = subprocess.run(
        [*perago_command(), "check", "count_words"],
        cwd=tmp_path / "project",
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    check = next(command for command in commands(page) if command.text == "perago check count_words")
    assert keys(done.stdout.splitlines()) == keys(check.shown)
    assert done.stdout.splitlines()[0] == check.shown[0]


def keys(lines: list[str]) -> list[str]:
    """What stands before the colon of each line."""
    return [line.partition(": ")[0] for line in lines]


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
@pytest.mark.parametrize("page", pages.READMES, ids=lambda page: page.name)
def test_every_command_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    save(page, project)
    variables = environment(tmp_path)
    variables["PATH"] = on_path(tmp_path) + ":" + variables["PATH"]
    done = subprocess.run(
        ["bash", "-c", script(commands(page), free_address())],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = [(project / f"{number}.out") for number in range(len(commands(page)))]
    for command, path in zip(commands(page), printed, strict=True):
        output = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        assert set(keys(command.shown)) <= set(keys(output)), command.text
    answers = "".join(path.read_text(encoding="utf-8") for path in printed if path.exists())
    assert '"words":3' in answers.replace(" ", "")
    assert '"app.words_sum"' in answers
