"""`perago run` on directories and on commits of a repository."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from support.command import SECRETS, CommandLine, environment, perago_command
from support.lake import Lake
from support.waiting import until

from .modules import EDITING
from .running import CHANGES, METRICS, failing, run


class TestDirectory:
    def test_the_body_works_in_place_and_its_changes_are_listed(
        self, line: CommandLine, folder: Path, where: list[str]
    ) -> None:
        ran = run(line, "edit", "--params", "{}", "--workspace", "files", *where)
        said = "edited\n"
        head = (
            'demo.edit: COMPLETED, the body took <s> s\nresult: {\n  "files": 4\n}\nworkspace: <cwd>/files\n'
        )
        assert ran.code == 0
        assert ran.stdout == (said if where else "") + head + CHANGES + METRICS
        assert ran.stderr == ("" if where else said)
        assert sorted(path.name for path in folder.rglob("*.txt")) == [
            "changed.txt",
            "file.txt",
            "kept.txt",
            "same.txt",
        ]

    def test_a_body_that_fails_has_left_its_changes(self, line: CommandLine, folder: Path) -> None:
        ran = failing(line, "edit", "--params", '{"fail": true}', "--workspace", str(folder))
        assert ran.code == 1
        assert ran.stdout == (
            "demo.edit: FAILED, the body took <s> s\nworkspace: <cwd>/files\n" + CHANGES + METRICS
        )
        assert ran.stderr.startswith("error: body_raised: no such song\nTraceback")

    def test_a_guardrail_before_the_body(self, line: CommandLine, folder: Path) -> None:
        (folder / "kept.txt").unlink()
        ran = run(line, "edit", "--params", "{}", "--workspace", "files")
        assert (ran.code, ran.stdout) == (
            1,
            "demo.edit: FAILED_WITH_TERMINAL_ERROR\nworkspace: <cwd>/files\n",
        )
        assert ran.stderr == (
            "error: pre_guardrail: pre guardrail require_file('kept.txt') did not find a file\n"
            "  hint: the workspace given to the task lacks what its WorkspaceSpec(pre=...) asks for\n"
        )
        assert (folder / "removed.txt").exists()

    def test_a_guardrail_after_the_body(self, line: CommandLine, folder: Path, where: list[str]) -> None:
        ran = run(line, "edit", "--params", '{"scratch": true}', "--workspace", "files", *where)
        assert ran.code == 1
        said = "edited\n" if where else ""
        assert ran.stdout.startswith(
            said + "demo.edit: FAILED, the body took <s> s\nworkspace: <cwd>/files\n"
        )
        assert "  added scratch/left (1 B)\n" in ran.stdout
        assert "result" not in ran.stdout
        assert (
            "error: post_guardrail: post guardrail forbid_glob('scratch/*') matched 1 files\n" in ran.stderr
        )
        assert folder.is_dir()

    def test_what_a_worker_could_not_publish(self, line: CommandLine, folder: Path) -> None:
        line.write(
            "edit.py", EDITING.replace("    print(", "    (workspace / 'link').symlink_to('/')\n    print(")
        )
        ran = run(line, "edit", "--params", "{}", "--workspace", "files")
        assert ran.code == 1
        assert "error: workspace_path: workspace upload does not support symlinks: link\n" in ran.stderr
        ran = run(line, "edit", "--params", "{}", "--workspace", "files")
        assert (ran.code, ran.stdout) == (1, "demo.edit: FAILED\n")
        assert "error: workspace_path: workspace upload does not support symlinks: link\n" in ran.stderr
        assert folder.is_dir()

    def test_a_read_only_task(self, line: CommandLine, folder: Path) -> None:
        line.write("edit.py", EDITING.replace('prefix="audio",', 'prefix="audio", read_only=True,'))
        ran = run(line, "edit", "--params", "{}", "--workspace", "files")
        assert ran.code == 0
        assert CHANGES + "  a worker publishes none of this: the task is read-only\n" in ran.stdout
        (folder / "removed.txt").write_text("again")
        (folder / "new/file.txt").unlink()
        (folder / "new").rmdir()
        (folder / "link").symlink_to("/")
        ran = run(line, "edit", "--params", "{}", "--workspace", "files")
        assert (ran.code, "added" in ran.stdout) == (0, False)

    def test_nothing_changed(self, line: CommandLine, folder: Path) -> None:
        start, end = EDITING.index("    (workspace"), EDITING.index("    print(")
        line.write("edit.py", EDITING[:start] + EDITING[end:])
        ran = run(line, "edit", "--params", "{}", "--workspace", str(folder))
        assert ran.stdout.endswith("workspace: <cwd>/files\n  nothing changed\n")


class TestRepository:
    @pytest.fixture(autouse=True)
    def module(self, line: CommandLine) -> None:
        line.write("edit.py", EDITING)

    def test_a_pinned_commit_is_materialised_and_nothing_is_published(
        self, line: CommandLine, lake: Lake, store: dict[str, str], where: list[str]
    ) -> None:
        head, tree = lake.head(), lake.tree()
        ran = run(line, "edit", "--params", "{}", "--repository", lake.name, "--ref", head, *where, **store)
        assert ran.code == 0, ran.stderr
        said = "edited\n"
        assert ran.stdout == (
            (said if where else "")
            + 'demo.edit: COMPLETED, the body took <s> s\nresult: {\n  "files": 4\n}\n'
            + f"workspace: {lake.name} at {head}\n"
            + CHANGES
            + METRICS
        )
        assert ran.stderr == "downloaded 4 files, 19 B in <s> s (<rate>)\n" + ("" if where else said)
        assert (lake.head(), lake.tree(), lake.staged()) == (head, tree, {})
        again = run(line, "edit", "--params", "{}", "--repository", lake.name, "--ref", head, *where, **store)
        assert again.stdout == ran.stdout
        assert "downloaded 4 files, 19 B in <s> s (<rate>), all from the cache\n" in again.stderr
        assert list((line.folder / "workspaces").glob("perago-run-*")) == []

    def test_a_branch_stands_for_its_commit_and_the_directory_can_be_kept(
        self, line: CommandLine, lake: Lake, store: dict[str, str]
    ) -> None:
        arguments = ["--params", "{}", "--repository", lake.name, "--ref", "main", "--keep", "--json"]
        ran = line.run("run", "edit", *arguments, **store)
        report = json.loads(ran.stdout)
        workspace = report["workspace"]
        assert workspace["kept"] is True
        assert f", kept in {workspace['directory']}\n" in ran.stderr
        download = workspace["download"]
        assert download.pop("seconds") > 0
        assert download == {
            "repository": lake.name,
            "ref": lake.head(),
            "files": 4,
            "bytes": 19,
            "cached_files": 0,
            "cached_bytes": 0,
        }
        kept = Path(workspace["directory"].replace("<folder>", str(line.folder)))
        assert (kept / "new/file.txt").read_text() == "12345"
        assert not (kept / "other.txt").exists()

    def test_the_directory_of_a_failed_guardrail_can_be_kept(
        self, line: CommandLine, lake: Lake, store: dict[str, str]
    ) -> None:
        assert lake.here("DELETE", "/branches/main/objects", path="audio/kept.txt").status == 204
        assert lake.commit("main").status == 201
        given = ["--params", "{}", "--repository", lake.name, "--ref", "main"]
        ran = run(line, "edit", *given, "--keep", **store)
        assert ran.code == 1
        assert "error: pre_guardrail: " in ran.stderr
        (kept,) = (line.folder / "workspaces").glob("perago-run-*")
        assert (kept / "same.txt").exists()
        assert run(line, "edit", *given, **store).code == 1
        assert list((line.folder / "workspaces").glob("perago-run-*")) == [kept]

    def test_what_a_killed_command_has_left_is_found(
        self, line: CommandLine, lake: Lake, store: dict[str, str], where: list[str]
    ) -> None:
        line.write("edit.py", EDITING.replace("    print(", "    __import__('signal').pause()\n    print("))
        places = [line.folder / "workspaces", line.folder / "tmp"]
        places[1].mkdir()
        variables = {"TMPDIR": str(places[1]), "CONDUCTOR_SERVER_URL": "http://127.0.0.1:9/api", **store}

        def left() -> list[Path]:
            return [path for place in places for path in place.glob("*perago-run-*")]

        def gc() -> dict[str, list[str]]:
            swept = json.loads(line.run("gc", "--json", "--older-than", "1s", **variables).stdout)
            return {path["fate"]: path.get("reason") for path in swept["leftovers"]}

        arguments = ["run", "edit", "--params", "{}", "--repository", lake.name, "--ref", "main", *where]
        with subprocess.Popen(
            [*perago_command(), *arguments],
            cwd=line.cwd,
            env=environment(line.folder, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                until(
                    lambda: [path for path in left() if path.is_dir() and list(path.glob("new/file.txt"))],
                    "the body's edits",
                )
                assert gc() == {"kept": "running"}
            finally:
                process.kill()
        assert len(left()) == 4, "two directories, two locks"
        until(lambda: gc() == {"removed": None}, "a second of age")
        assert left() == []

    @pytest.mark.parametrize(
        ("repository", "reference"), [("", "no-such-commit"), ("no-such-repository", "main")]
    )
    def test_a_commit_that_is_not_there(
        self, line: CommandLine, lake: Lake, store: dict[str, str], repository: str, reference: str
    ) -> None:
        name = repository or lake.name
        ran = run(line, "edit", "--params", "{}", "--repository", name, "--ref", reference, **store)
        assert (ran.code, ran.stdout) == (1, "demo.edit: FAILED\n")
        assert ran.stderr.startswith(f'error: workspace_failed: cannot find "{reference}" in {name}: ')

    def test_without_a_server(self, line: CommandLine) -> None:
        ran = run(line, "edit", "--params", "{}", "--repository", "r", "--ref", "main")
        assert (ran.code, ran.stdout) == (1, "")
        assert ran.stderr.startswith("error: LakeFS config is required for --repository\n  hint: ")

    def test_a_dead_server_and_secrets(self, line: CommandLine) -> None:
        # The command line helper looks for secrets in all that is printed.
        variables = {"LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:9", **SECRETS}
        ran = run(line, "edit", "--params", "{}", "--repository", "r", "--ref", "main", **variables)
        assert (ran.code, ran.stdout) == (1, "demo.edit: FAILED\n")
        assert ran.stderr.startswith('error: workspace_failed: cannot find "main" in r: ')
        ran = run(line, "edit", "--params", "{}", "--repository", "r", "--ref", "main", "--json", **variables)
        assert json.loads(ran.stdout)["failure"]["code"] == "workspace_failed"

    def test_a_terminal_sees_a_bar(self, line: CommandLine, lake: Lake, store: dict[str, str]) -> None:
        controller, terminal = pty.openpty()
        command = [
            *perago_command(),
            "run",
            "edit",
            "--params",
            "{}",
            "--repository",
            lake.name,
            "--ref",
            "main",
        ]
        with subprocess.Popen(
            command,
            cwd=line.cwd,
            env=environment(line.folder, TERM="xterm", **store),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
        ) as process:
            os.close(terminal)
            seen = b""
            try:
                while data := os.read(controller, 4096):
                    seen += data
            except OSError:
                # How Linux says that nobody holds the terminal any more.
                pass
            os.close(controller)
        assert process.returncode == 0
        assert b"downloading " in seen
        assert b"downloaded 4 files, 19 B in " in seen
