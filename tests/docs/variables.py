"""The table of variables in the worker's source, read as text: documentation must name each of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).parents[2] / "crates/perago-worker/src/settings/table.rs"


class Variable(NamedTuple):
    """One row of the table."""

    name: str
    default: str
    rule: str
    doc: str
    role: str


def variables() -> list[Variable]:
    """Every variable, in the order of the table."""
    source = TABLE.read_text(encoding="utf-8")
    constants = dict(re.findall(r'^const (\w+): &str = "((?:[^"\\]|\\.)*)";', source, re.MULTILINE))
    rows = re.findall(r"^ +variable\((.+)\),$", source, re.MULTILINE)
    return [Variable(*_arguments(row, constants)) for row in rows]


def _arguments(row: str, constants: dict[str, str]) -> list[str]:
    tokens = re.findall(r'"((?:[^"\\]|\\.)*)"|(\w+)', row)
    return [text if not word else constants.get(word, word) for text, word in tokens]
