"""The Markdown pages of the project, taken apart."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs"
LANGUAGES = ("en", "zh-CN")
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str


def all_pages() -> list[Path]:
    """Every Markdown page that is tracked or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        return [*ROOT.glob("*.md"), *GUIDES.rglob("*.md")]
    return [path for path in (ROOT / name for name in listed.stdout.splitlines()) if path.is_file()]


def pairs() -> list[tuple[Path, Path]]:
    """Each page in English with the same page in Chinese."""
    english = sorted((GUIDES / "en").glob("*.md"))
    return [READMES[:2], *((page, GUIDES / "zh-CN" / page.name) for page in english)]  # type: ignore[list-item]


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, of one language or of all."""
    found = re.findall(
        r"^```([\w-]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [Block(*block) for block in found if language in (None, block[0])]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    return [(len(marks), text) for marks, text in re.findall(r"^(#+) +(.+)$", prose(page), re.MULTILINE)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    kept = (re.sub(r"[^\w\- ]", "", text.lower()) for _, text in headings(page))
    return {text.replace(" ", "-") for text in kept}


def links(page: Path) -> list[str]:
    """The targets of all links of a page."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))
