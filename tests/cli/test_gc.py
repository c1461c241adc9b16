"""`perago gc` where there is nothing to look at; for what it removes see `tests/worker/test_garbage.py`."""

from __future__ import annotations

import json

import pytest

from support.command import CommandLine

CONDUCTOR = {"CONDUCTOR_SERVER_URL": "http://127.0.0.1:9/api"}
LAKE_FS = {
    "LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:9",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "LAKEKEY-never-shown",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "LAKESECRET-never-shown",
    # Nobody listens there, and that does not change.
    "PERAGO_LAKEFS_RETRIES": "0",
}
NOTHING = {
    "dry_run": False,
    "older_than_seconds": 7200,
    "workspace_root": "<folder>/workspaces",
    "repositories": [],
    "leftovers": [],
    "failures": [],
    "totals": {"removed": 0, "kept": 0, "failed": 0},
}


def test_without_a_conductor_nothing_can_be_known(line: CommandLine) -> None:
    ran = line.run("gc")
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == "error: CONDUCTOR_SERVER_URL is required for perago gc\n"


def test_an_empty_root(line: CommandLine) -> None:
    ran = line.run("gc", **CONDUCTOR)
    assert (ran.code, ran.stdout) == (0, "removed 0, kept 0, failed 0\n")
    assert ran.stderr == "warning: staging branches are not looked at, because lakeFS is not configured\n"
    ran = line.run("gc", "--dry-run", **CONDUCTOR, **LAKE_FS)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "would remove 0, kept 0, failed 0\n", "")


def test_the_age_is_the_option_s_else_the_setting_s(line: CommandLine) -> None:
    ran = line.run("gc", "--json", "--older-than", "2h", **CONDUCTOR, **LAKE_FS)
    assert json.loads(ran.stdout) == NOTHING
    ran = line.run("gc", "--json", PERAGO_WORKSPACE_GC_TTL="2h", **CONDUCTOR, **LAKE_FS)
    assert json.loads(ran.stdout) == NOTHING


def test_a_repository_needs_lakefs(line: CommandLine) -> None:
    ran = line.run("gc", "--repository", "music", **CONDUCTOR)
    assert (ran.code, ran.stderr) == (1, "error: --repository needs lakeFS, which is not configured\n")
    ran = line.run("gc", "--repository", "music", "--repository", "speech", **CONDUCTOR, **LAKE_FS)
    assert ran.code == 1
    assert "error: repository music: " in ran.stderr
    assert "error: repository speech: " in ran.stderr


@pytest.mark.parametrize("text", ["0s", "soon", "1.5h", ""])
def test_an_age_that_is_none(line: CommandLine, text: str) -> None:
    ran = line.run("gc", "--older-than", text, **CONDUCTOR)
    assert (ran.code, ran.stdout) == (2, "")
    assert "--older-than <DURATION>" in ran.stderr
