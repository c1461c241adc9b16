"""Patterns of guardrails mean what ``pathlib.Path.glob`` means, whatever the tree and the pattern."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perago import check_guardrails, forbid_glob, require_file, require_glob
from perago._native import guardrail_violation

NAMES = st.text(alphabet="ab.[]-!^ä*? 1", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
TREES = st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=8)
CLASSES = st.text(alphabet="ab!]^-1[&~|", min_size=0, max_size=5).map(lambda members: f"[{members}]")
PIECES = st.one_of(st.sampled_from(["*", "?", "a", "b", ".", "ä", "1", "[", "]"]), CLASSES)
SEGMENTS = st.one_of(
    st.just("**"),
    st.just("*"),
    st.lists(PIECES, min_size=1, max_size=4)
    .map("".join)
    .filter(lambda part: "**" not in part and part not in (".", "..")),
)
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


def grow(root: Path, tree: list[list[str]]) -> None:
    """Make files with the directories above them; where a file is in the way, the rest is left out."""
    for path in tree:
        place = root
        for name in path[:-1]:
            place /= name
            if not place.exists():
                place.mkdir()
            if not place.is_dir():
                break
        else:
            if not (place / path[-1]).exists():
                (place / path[-1]).touch()


@settings(max_examples=300, deadline=None)
@given(tree=TREES, pattern=PATTERNS)
def test_a_pattern_counts_what_pathlib_finds(tree: list[list[str]], pattern: str) -> None:
    if re.match(r"[A-Za-z]:", pattern):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        grow(root, tree)
        found = sorted(str(path.relative_to(root)) for path in root.glob(pattern))
        count = len(found)
        assert guardrail_violation(root, "require_glob", pattern, count, count) is None, found
        forbidden = guardrail_violation(root, "forbid_glob", pattern, None, None)
        assert forbidden == (f"matched {count} files" if count else None)


def test_the_marker_of_an_attempt_counts_nowhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in (".perago-attempt.json", "in/.perago-attempt.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    check_guardrails(tmp_path, [forbid_glob("in/*"), require_glob("*", max_count=1)], "pre")
    with pytest.raises(Exception, match="did not find a file"):
        check_guardrails(tmp_path, [require_file(".perago-attempt.json")], "pre")
