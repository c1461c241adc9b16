"""The digits that stand for a task's code change with the code, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import importlib, sys
sys.path.append(sys.argv[1])
importlib.import_module(sys.argv[2])
from perago._code import code_hash
print(code_hash(sys.argv[2], {"name": "t", "source": {"file": sys.argv[1]}, "strict_params": sys.argv[3]}))
"""


def digits(folder: Path, target: str, strict: str = "no") -> str:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), target, strict],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder.parent,
    )
    assert len(ran.stdout.strip()) == 64
    return ran.stdout


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


PACKAGE = {
    "shop/__init__.py": "",
    "shop/tasks.py": "import helper\n",
    "shop/later/__init__.py": "",
    "shop/later/part.py": "x = 1\n",
    "shop/data/table.csv": "1",
    "helper.py": "y = 1\n",
    "unused.py": "z = 1\n",
}


def test_the_same_code_elsewhere_has_the_same_digits(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", PACKAGE), write(tmp_path / "two", PACKAGE)
    assert digits(one, "shop.tasks") == digits(two, "shop.tasks") == digits(one, "shop.tasks")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("shop/tasks.py", True),
        ("shop/__init__.py", True),
        ("shop/later/part.py", True),
        ("helper.py", True),
        ("shop/data/table.csv", False),
        ("unused.py", False),
    ],
)
def test_files_of_the_package_and_what_it_imports_count(tmp_path: Path, name: str, counts: bool) -> None:
    before = digits(write(tmp_path, PACKAGE), "shop.tasks")
    (tmp_path / name).write_text("import helper\nchanged = 1\n")
    assert (digits(tmp_path, "shop.tasks") != before) is counts


def test_beside_a_module_without_package_every_source_file_counts(tmp_path: Path) -> None:
    write(tmp_path, {"alone.py": "", "beside.py": "x = 1\n", "notes.txt": "1"})
    before = digits(tmp_path, "alone")
    (tmp_path / "notes.txt").write_text("2")
    assert digits(tmp_path, "alone") == before
    (tmp_path / "beside.py").write_text("x = 2\n")
    assert digits(tmp_path, "alone") != before


def test_the_declaration_counts_and_its_place_does_not(tmp_path: Path) -> None:
    write(tmp_path, {"alone.py": ""})
    assert digits(tmp_path, "alone", "no") != digits(tmp_path, "alone", "yes")
