from __future__ import annotations

from pathlib import Path

import pytest

from support.command import CommandLine

from .modules import GOOD

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "examples"


@pytest.mark.parametrize("name", ["mix", "render"])
def test_the_examples_byte_for_byte(line: CommandLine, name: str) -> None:
    line.write(f"task_demo_{name}.py", (FIXTURES / f"task_demo_{name}.py").read_text())
    ran = line.run("extract", f"task_demo_{name}", "-o", "generated/deep/out.json")
    assert (ran.code, ran.stdout) == (0, "generated/deep/out.json\n")
    assert all(text.startswith(("warning: ", "  ")) for text in ran.stderr.splitlines())
    expected = (FIXTURES / f"demo.{name}.taskdef.json").read_bytes()
    assert (line.cwd / "generated/deep/out.json").read_bytes() == expected


def test_a_file_is_replaced_and_the_path_printed_as_given(line: CommandLine) -> None:
    line.write("good.py", GOOD)
    line.write("out.json", "old")
    path = str(line.cwd / "out.json")
    ran = line.run("extract", "good", "--output", path)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "<cwd>/out.json\n", "")
    assert (line.cwd / "out.json").read_text().startswith('{\n  "name": "demo.good",\n')


@pytest.mark.parametrize(
    ("output", "stderr"),
    [
        ("out.txt", "error: output must be a JSON file path, for example generated/features.build.json\n"),
        ("out", "error: output must be a JSON file path, for example generated/features.build.json\n"),
        ("folder.json", "error: output must be a JSON file path, not a directory\n"),
        ("good.py/out.json", "error: good.py/out.json cannot be written: Not a directory (os error 20)\n"),
    ],
)
def test_outputs_that_cannot_be_written(line: CommandLine, output: str, stderr: str) -> None:
    line.write("good.py", GOOD)
    (line.cwd / "folder.json").mkdir()
    ran = line.run("extract", "good", "-o", output)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.replace("File exists (os error 17)", "Not a directory (os error 20)") == stderr


def test_a_bad_module_writes_nothing(line: CommandLine) -> None:
    line.write("none.py", "x = 1\n")
    ran = line.run("extract", "none", "-o", "out.json")
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: none does not declare a Perago task\n  --> <cwd>/none.py\n")
    assert not (line.cwd / "out.json").exists()
