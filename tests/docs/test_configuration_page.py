"""The pages on configuration against the worker's own table of variables."""

from __future__ import annotations

import re

import pytest

from . import pages
from .variables import Variable, variables


def rows(language: str) -> dict[str, str]:
    """Each variable of the page with its default as written."""
    text = (pages.GUIDES / language / "configuration.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([A-Z][A-Z_]+|[a-z]+_proxy)` \| (.+?) \|", text, re.MULTILINE))


def test_the_table_is_understood() -> None:
    names = [variable.name for variable in variables()]
    assert len(names) == len(set(names))
    assert {"CONDUCTOR_SERVER_URL", "PERAGO_LOG", "OTEL_METRIC_EXPORT_INTERVAL", "PERAGO_SLOT"} <= set(names)


@pytest.mark.parametrize("language", pages.LANGUAGES)
@pytest.mark.parametrize("variable", variables(), ids=lambda variable: variable.name)
def test_each_variable_is_documented(variable: Variable, language: str) -> None:
    documented = rows(language)
    assert variable.name in documented
    if variable.default:
        assert documented[variable.name] == f"`{variable.default}`"


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_no_other_variable_is_documented(language: str) -> None:
    known = {variable.name for variable in variables()}
    assert set(rows(language)) - known == set()
