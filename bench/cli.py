"""Time and memory of `perago check` and `perago --version`, as whole processes.

    .venv/bin/python bench/cli.py [--peer PEER_VENV/bin/perago] [--runs 15]

Memory is the largest process of each run (`ru_maxrss`), as the system accounts it. The time that Python
takes to start, and to import what the checked module itself imports from pydantic, stands beside: no check
can be faster.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from common import MODULES, ROOT, environment, parser, perago_command, spread


def run_once(command: list[str], folder: Path) -> tuple[float, float]:
    """Return wall seconds and megabytes of one run."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder, PYTHONPATH=str(MODULES)) | {"PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Measure in turn and print medians."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--runs", type=int, default=15)
    options = arguments.parse_args()
    contenders = {"perago": perago_command()}
    if options.peer:
        contenders["peer 0.6.1"] = [str(options.peer)]
    python = [str(ROOT / ".venv" / "bin" / "python"), "-c"]
    floors = {"bare Python": [*python, ""], "pydantic": [*python, "from pydantic import BaseModel, Field"]}
    report("import", floors, options.runs)
    for title, rest in (("check", ["check", "page"]), ("--version", ["--version"])):
        commands = {name: [*command, *rest] for name, command in contenders.items()}
        report(title, commands, options.runs)


def report(title: str, commands: dict[str, list[str]], runs: int) -> None:
    """Run the commands in turn and print the medians of each."""
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs + 1):
            for name, command in commands.items():
                figure = run_once(command, Path(folder))
                if number:
                    figures[name].append(figure)
    for name, measured in figures.items():
        seconds = spread([figure[0] for figure in measured])
        megabytes = spread([figure[1] for figure in measured], 1)
        print(f"{title:<10} {name:<11} {seconds} s   {megabytes} MB")


if __name__ == "__main__":
    main()
