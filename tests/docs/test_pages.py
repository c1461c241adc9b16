"""Links, and the two languages side by side."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import pages


def identity(value: object) -> str:
    path = value[0] if isinstance(value, tuple) else value
    return str(path.relative_to(pages.ROOT)) if isinstance(path, Path) else str(path)


@pytest.mark.parametrize("page", pages.all_pages(), ids=identity)
def test_links_lead_somewhere(page: Path) -> None:
    for target in pages.links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        assert linked.is_relative_to(pages.ROOT), f"{target} leaves the project"
        if anchor:
            assert anchor in pages.anchors(linked), (
                f"{target} names no heading; there are {pages.anchors(linked)}"
            )


def test_both_languages_have_the_same_guides() -> None:
    names = [{page.name for page in (pages.GUIDES / language).glob("*.md")} for language in pages.LANGUAGES]
    assert names[0] == names[1]
    assert names[0]


@pytest.mark.parametrize("pair", pages.pairs(), ids=identity)
def test_both_languages_have_the_same_structure(pair: tuple[Path, Path]) -> None:
    shapes = [[level for level, _ in pages.headings(page)] for page in pair]
    assert shapes[0] == shapes[1]
    assert shapes[0]


@pytest.mark.parametrize("pair", pages.pairs(), ids=identity)
def test_both_languages_have_the_same_code(pair: tuple[Path, Path]) -> None:
    languages = ("python", "rust", "json", "toml", "console", "ini")
    english, chinese = (
        [block for block in pages.blocks(page) if block.language in languages] for page in pair
    )
    assert english == chinese


@pytest.mark.parametrize("pair", pages.pairs(), ids=identity)
def test_both_languages_name_the_same_things(pair: tuple[Path, Path]) -> None:
    """Variables, codes, events and names stand in both, so that neither page is forgotten in a change."""
    named = [
        set(re.findall(r"`([A-Z][A-Z_]{4,}|PERAGO-[A-Z-]+|[a-z]+(?:_[a-z]+)+)`", pages.prose(page)))
        for page in pair
    ]
    assert named[0] ^ named[1] == set()
