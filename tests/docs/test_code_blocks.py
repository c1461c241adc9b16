"""The Python of the guides: tasks pass the check, tests pass, and everything is Python at all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import environment, perago_command

from . import pages
from .test_readme import files

# Both languages hold the same code: see test_pages.py.
BLOCKS = [
    pytest.param(page, block.text, id=f"{page.stem}-{number}")
    for page in sorted((pages.GUIDES / "en").glob("*.md"))
    for number, block in enumerate(pages.blocks(page, "python"), 1)
]


def named(page: Path) -> dict[str, str]:
    """The blocks of a page whose first line is a comment with the name of their file."""
    found = {}
    for block in pages.blocks(page, "python"):
        if name := re.match(r"# (\w+\.py)\n", block.text):
            found[name[1]] = block.text
    return found


@pytest.mark.parametrize(("page", "text"), BLOCKS)
def test_block(page: Path, text: str, tmp_path: Path) -> None:
    compile(text, "block.py", "exec")
    if "@task(" in text:
        name, command = "documented.py", [*perago_command(), "check", "documented"]
    else:
        name, command = (
            "test_documented.py",
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        )
        assert "def test_" in text, "a block of another kind needs a way to be tested"
        modules = {"count_words.py": files(pages.READMES[0])["count_words.py"], **named(page)}
        for module, source in modules.items():
            (tmp_path / module).write_text(source, encoding="utf-8")
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning:" not in done.stderr
