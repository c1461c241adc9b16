"""`perago status`: nothing, something that waits, something that is no journal."""

from __future__ import annotations

from pathlib import Path

from support.command import CommandLine


def test_nothing_is_owed(line: CommandLine, tmp_path: Path) -> None:
    ran = line.run("status", PERAGO_STATE_DIR=str(tmp_path / "none"))
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith("0 undelivered, 0 kept in ")
    assert not (tmp_path / "none").exists(), "looking made a directory"


def test_what_is_no_journal_is_refused(line: CommandLine, tmp_path: Path) -> None:
    for content, message in [
        ("perago-journal 7\n", "is of format 7; this version reads format 1"),
        ("mine\n", "is no journal of Perago"),
    ]:
        (tmp_path / "journal").write_text(content)
        ran = line.run("status", "--json", PERAGO_STATE_DIR=str(tmp_path))
        assert (ran.code, ran.stdout) == (1, "")
        assert message in ran.stderr
        assert "hint: " in ran.stderr
        assert (tmp_path / "journal").read_text() == content
