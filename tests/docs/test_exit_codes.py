"""The exit codes of a worker: one table, in the help and in the pages of both languages."""

from __future__ import annotations

import re

import pytest

from . import pages

SOURCE = pages.ROOT / "crates/perago/src"
HELP = pages.ROOT / "tests/cli/help/start.txt"


def in_help() -> dict[int, str]:
    """The table of `perago start --help`, which a test of the command line compares with the command."""
    _, _, table = HELP.read_text(encoding="utf-8").partition("Exit codes:\n")
    return {int(code): text for code, text in re.findall(r"^  (\d)  (.+)$", table, re.MULTILINE)}


def documented(language: str) -> dict[int, str]:
    """The table of the page on workers."""
    text = (pages.GUIDES / language / "running-workers.md").read_text(encoding="utf-8")
    return {int(code): meaning for code, meaning in re.findall(r"^\| (\d) \| (.+) \|$", text, re.MULTILINE)}


def test_the_help_has_every_code_that_the_command_line_exits_with() -> None:
    source = (SOURCE / "lib.rs").read_text(encoding="utf-8")
    known = {int(code) for code in re.findall(r"Self::\w+ => (\d),", source)}
    assert known == set(in_help()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_the_pages_have_the_same_codes(language: str) -> None:
    assert set(documented(language)) == set(in_help())


def test_the_english_page_begins_with_the_words_of_the_help() -> None:
    meanings = documented("en")
    for code, text in in_help().items():
        assert meanings[code].startswith(text), code
