"""The Python of the guides: tasks pass the check, tests pass, and everything is Python at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.command import environment, perago_command

from . import pages
from .test_readme import files

# Both languages hold the same code: see test_pages.py.
BLOCKS = [
    pytest.param(block.text, id=f"{page.stem}-{number}")
    for page in sorted((pages.GUIDES / "en").glob("*.md"))
    for number, block in enumerate(pages.blocks(page, "python"), 1)
]


@pytest.mark.parametrize("text", BLOCKS)
def test_block(text: str, tmp_path: Path) -> None:
    compile(text, "block.py", "exec")
    if "@task(" in text:
        name, command = "documented.py", [*perago_command(), "check", "documented"]
    else:
        name, command = (
            "test_documented.py",
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        )
        assert "def test_" in text, "a block of another kind needs a way to be tested"
        (tmp_path / "count_words.py").write_text(files(pages.READMES[0])["count_words.py"], encoding="utf-8")
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning:" not in done.stderr
