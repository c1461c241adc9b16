"""Events, failure codes, codes of findings and removed names: each one that the code has is documented."""

from __future__ import annotations

import re

import pytest

from perago._native import failure_catalogue
from perago._removed import REMOVED

from . import pages

# Codes of exceptions that never become a finding: bases, and what a more precise code replaces.
NOT_SHOWN = {"PERAGO-ERROR", "PERAGO-CONFIG", "PERAGO-TASK-DEFINITION"}


def sources(*folders: str) -> list[str]:
    """The text of all source files below some folders."""
    found = [path for folder in folders for path in (pages.ROOT / folder).rglob("*.*")]
    return [path.read_text(encoding="utf-8") for path in found if path.suffix in {".rs", ".py"}]


def guide(name: str, language: str) -> str:
    return (pages.GUIDES / language / name).read_text(encoding="utf-8")


def events() -> set[str]:
    """The events that the worker logs."""
    text = "\n".join(sources("crates/perago-worker/src"))
    return set(re.findall(r'Level::\w+,\s*"([a-z_]+)"', text)) | set(re.findall(r'event: "([a-z_]+)"', text))


def finding_codes() -> set[str]:
    """The codes that a check can report."""
    folders = "crates/perago-contract/src", "crates/perago-worker/src/settings", "crates/perago/src", "python"
    text = "\n".join(sources(*folders))
    return set(re.findall(r'"(PERAGO-[A-Z-]+)"', text)) - NOT_SHOWN


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_event_is_documented(language: str) -> None:
    known = events()
    assert {"task_received", "task_failed", "body_log"} <= known
    documented = guide("running-workers.md", language)
    assert {event for event in known if f"`{event}`" not in documented} == set()


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_failure_code_is_documented(language: str) -> None:
    documented = guide("troubleshooting.md", language)
    assert {code for code, _, _ in failure_catalogue() if f"`{code}`" not in documented} == set()


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_reason_of_a_metric_warning_is_documented(language: str) -> None:
    text = (pages.ROOT / "crates/perago-metrics/src/warning.rs").read_text(encoding="utf-8")
    known = set(re.findall(r'Self::\w+ => "([a-z_]+)"', text))
    assert {"invalid_name", "reserved_label", "labels_unreadable"} <= known
    documented = guide("metrics.md", language)
    assert {reason for reason in known if f"`{reason}`" not in documented} == set()


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_code_of_a_finding_is_documented(language: str) -> None:
    known = finding_codes()
    assert {"PERAGO-SIGNATURE", "PERAGO-CONFIG-VALUE", "PERAGO-MODULE-IMPORT"} <= known
    documented = guide("troubleshooting.md", language)
    assert {code for code in known if f"`{code}`" not in documented} == set()


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_every_removed_name_is_documented(language: str) -> None:
    documented = guide("moving-from-0.6.md", language)
    assert {name for name in REMOVED if f"`{name}`" not in documented} == set()
