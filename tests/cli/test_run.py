"""`perago run`: one attempt in an executor, without Conductor."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest

from protocol.lake import KEY, Lake
from support.command import SECRETS, CommandLine, Ran, environment, perago_command
from support.processes import MARK, marked
from support.waiting import until

from .modules import EDITING, GOOD, SEVERAL, TWO

COMPLETED = """\
demo.good: COMPLETED, the body took <s> s
result: {
  "n": 3
}
"""
CHANGES = """\
  added new/file.txt (5 B)
  changed changed.txt (5 B, was 7 B)
  removed removed.txt (4 B)
"""
METRICS = """\
metrics:
  app.depth: 2
  app.edits{kind="text"}: count 2, sum 4.5
"""
ORIGINAL = {"kept.txt": "kept", "changed.txt": "changed", "same.txt": "same", "removed.txt": "gone"}
WAITING = """\
import subprocess
import time
from pathlib import Path


def wait(folder):
    subprocess.Popen(["sleep", "300"])
    Path(folder, "runs").write_text("")
    time.sleep(300)
"""


def body(text: str) -> str:
    """The module GOOD with another body."""
    return GOOD.replace("    return Result(n=params.n)\n", text)


def timeless(text: str) -> str:
    """Replace durations and rates."""
    text = re.sub(r"\d+\.\d+ s\b", "<s> s", text)
    text = re.sub(r"\([\d.]+ [KMG]?i?B/s\)", "(<rate>)", text)
    return re.sub(r"perago-run-\w+", "perago-run-<id>", text)


def run(line: CommandLine, *arguments: str, **values: str) -> Ran:
    """Run `perago run ARGUMENTS` with durations replaced."""
    ran = line.run("run", *arguments, **values)
    return Ran(ran.code, timeless(ran.stdout), timeless(ran.stderr))


def failing(line: CommandLine, *arguments: str, **values: str) -> Ran:
    """The same where the author's traceback is shown."""
    ran = line.run("run", *arguments, shows_traceback=True, **values)
    return Ran(ran.code, timeless(ran.stdout), timeless(ran.stderr))


@pytest.fixture
def folder(line: CommandLine) -> Path:
    """A directory for the module `edit`."""
    line.write("edit.py", EDITING)
    for name, text in ORIGINAL.items():
        line.write(f"files/{name}", text)
    return line.cwd / "files"


@pytest.fixture(params=["apart", "in-process"])
def where(request: pytest.FixtureRequest) -> list[str]:
    """Both places for a body."""
    return ["--in-process"] if request.param == "in-process" else []


class TestWithoutWorkspace:
    def test_success(self, line: CommandLine, where: list[str]) -> None:
        line.write("good.py", GOOD)
        ran = run(line, "good", "--params", '{"n": 3}', *where)
        assert (ran.code, ran.stdout, ran.stderr) == (0, COMPLETED, "")

    def test_parameters_from_a_file(self, line: CommandLine) -> None:
        line.write("good.py", GOOD)
        line.write("params.json", '{"n": 3}\n')
        assert run(line, "good", "--params", "@params.json").stdout == COMPLETED

    def test_a_body_that_raises(self, line: CommandLine, where: list[str]) -> None:
        line.write("bad.py", body("    raise LookupError('no song 7')\n"))
        ran = failing(line, "bad", "--params", '{"n": 3}', *where)
        assert (ran.code, ran.stdout) == (1, "demo.good: FAILED, the body took <s> s\n")
        assert ran.stderr == (
            "error: body_raised: no song 7\n"
            "Traceback (most recent call last):\n"
            '  File "<cwd>/bad.py", line 16, in good\n'
            "    raise LookupError('no song 7')\n"
            "LookupError: no song 7\n"
        )

    def test_a_body_that_refuses_for_good(self, line: CommandLine) -> None:
        text = body("    raise TaskTerminalError('never')\n").replace("import task", "import TaskTerminalError, task")
        line.write("final.py", text)
        ran = failing(line, "final", "--params", '{"n": 3}')
        assert (ran.code, ran.stdout) == (
            1,
            "demo.good: FAILED_WITH_TERMINAL_ERROR, the body took <s> s\n",
        )
        assert ran.stderr.startswith("error: task_terminal: never\n")

    def test_parameters_that_do_not_match(self, line: CommandLine, where: list[str]) -> None:
        line.write("good.py", GOOD)
        ran = run(line, "good", "--params", '{"n": "not a number"}', *where)
        assert (ran.code, ran.stdout) == (1, "demo.good: FAILED\n")
        assert ran.stderr == (
            "error: params_invalid: params.n: Input should be a valid integer, unable to parse string as an "
            "integer [int_parsing]\n"
        )

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("    return Result(n=params.n).model_dump() | {'more': 1}\n", "result_invalid"),
            ("    return 'x'\n", "result_invalid"),
        ],
    )
    def test_a_result_that_does_not_match(self, line: CommandLine, text: str, code: str) -> None:
        line.write("odd.py", body(text))
        ran = failing(line, "odd", "--params", '{"n": 3}')
        assert ran.code == 1
        assert ran.stderr.startswith(f"error: {code}: result")

    def test_a_result_that_conductor_cannot_hold(self, line: CommandLine) -> None:
        text = body("    return Result(n='x' * (3 << 20))\n").replace("n: int", "n: object")
        line.write("large.py", text)
        ran = run(line, "large", "--params", '{"n": 3}')
        assert (ran.code, ran.stdout) == (
            1,
            "demo.good: FAILED_WITH_TERMINAL_ERROR, the body took <s> s\n",
        )
        assert ran.stderr.startswith("error: result_too_large: ")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (
                "    import os\n    os._exit(9)\n",
                "executor_exited: the executor process exited with status 9 while it ran the body",
            ),
            (
                "    import os\n    os.kill(os.getpid(), 9)\n",
                "executor_killed: the executor process was killed by SIGKILL while it ran the body",
            ),
        ],
    )
    def test_a_body_that_ends_its_process(self, line: CommandLine, text: str, reason: str) -> None:
        line.write("ends.py", body(text))
        ran = run(line, "ends", "--params", '{"n": 3}')
        assert (ran.code, ran.stdout, ran.stderr) == (1, "demo.good: FAILED\n", f"error: {reason}\n")

    def test_what_a_body_says_goes_to_standard_error(self, line: CommandLine) -> None:
        text = (
            "    import logging, os, subprocess\n"
            "    print('printed')\n"
            "    logging.getLogger('app').warning('logged', extra={'song': 7})\n"
            "    subprocess.run(['echo', 'from a program'])\n"
            "    return Result(n=int(os.environ['PERAGO_SLOT']) + int(os.environ['PERAGO_SLOTS']))\n"
        )
        line.write("loud.py", body(text))
        ran = run(line, "loud", "--params", '{"n": 3}')
        assert (ran.code, ran.stdout) == (0, COMPLETED.replace("3", "2"))
        assert sorted(ran.stderr.splitlines()) == ["WARNING app: logged song=7", "from a program", "printed"]

    def test_nothing_that_a_body_started_is_left(self, line: CommandLine) -> None:
        line.write("leaves.py", body("    import subprocess\n    subprocess.Popen(['sleep', '300'])\n    return Result(n=3)\n"))
        ran = run(line, "leaves", "--params", '{"n": 3}', **{MARK: "leaves"})
        assert (ran.code, ran.stdout) == (0, COMPLETED)
        until(lambda: not marked("leaves"), "the program has ended")


class TestUsage:
    @pytest.mark.parametrize(
        ("params", "error"),
        [
            ("{", "error: --params is not JSON: EOF while parsing an object at line 1 column 1\n"),
            ("@absent.json", "error: --params @absent.json cannot be read: No such file or directory (os error 2)\n"),
            ("@broken.json", "error: --params @broken.json is not JSON: expected value at line 1 column 1\n"),
        ],
    )
    def test_parameters_that_are_no_json(self, line: CommandLine, params: str, error: str) -> None:
        line.write("good.py", GOOD)
        line.write("broken.json", "SECRET-never-shown")
        ran = run(line, "good", "--params", params)
        assert (ran.code, ran.stdout) == (2, "")
        assert ran.stderr.startswith(error), ran.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--params", "{}", "--workspace", "files", "--repository", "r", "--ref", "main"],
            ["--params", "{}", "--repository", "r"],
            ["--params", "{}", "--ref", "main"],
            ["--params", "{}", "--workspace", "files", "--keep"],
            ["--params", "{}", "--workspace", "absent"],
            ["--params", "{}", "--workspace", "edit.py"],
        ],
    )
    def test_options_that_do_not_go_together(
        self, line: CommandLine, folder: Path, arguments: list[str]
    ) -> None:
        assert folder.is_dir()
        ran = run(line, "edit", *arguments)
        assert (ran.code, ran.stdout) == (2, "")
        assert ran.stderr.startswith("error: ")

    def test_a_workspace_task_without_a_workspace(self, line: CommandLine, folder: Path) -> None:
        assert folder.is_dir()
        ran = run(line, "edit", "--params", "{}")
        assert (ran.code, ran.stdout) == (2, "")
        assert ran.stderr == (
            "error: task demo.edit works on a workspace, and none was given\n"
            "  hint: add --workspace DIR, or --repository REPOSITORY --ref COMMIT\n"
        )

    def test_a_task_without_workspace_and_a_directory(self, line: CommandLine) -> None:
        line.write("good.py", GOOD)
        for given in (["--workspace", "."], ["--repository", "r", "--ref", "main"]):
            ran = run(line, "good", "--params", "{}", *given)
            assert (ran.code, ran.stdout) == (2, "")
            assert ran.stderr.startswith("error: task demo.good has no workspace\n  hint: ")

    @pytest.mark.parametrize(
        ("module", "text"),
        [
            ("syntax", "def broken(:\n"),
            ("missing", "import no_such_package\n"),
            ("two", TWO),
            ("none", "x = 1\n"),
            ("several", SEVERAL),
            ("exits", "import sys\nsys.exit(0)\n"),
            ("hard", "import os\nos._exit(9)\n"),
            ("not.a/module", ""),
        ],
    )
    def test_a_module_that_cannot_be_used_has_the_findings_of_a_check(
        self, line: CommandLine, module: str, text: str
    ) -> None:
        if text:
            line.write(f"{module}.py", text)
        checked = line.run("check", module, PERAGO_WORKER_ID_PREFIX="x")
        ran = run(line, module, "--params", "{}")
        assert (ran.code, ran.stdout, ran.stderr) == (1, "", checked.stderr)
        if module != "hard":
            assert run(line, module, "--params", "{}", "--in-process").stderr == checked.stderr
        report = json.loads(run(line, module, "--params", "{}", "--json").stdout)
        assert report["status"] == "NOT_RUN"
        findings = json.loads(line.run("check", module, "--format", "json", PERAGO_WORKER_ID_PREFIX="x").stdout)
        assert report["findings"] == findings["findings"]

    def test_warnings_are_shown(self, line: CommandLine) -> None:
        frozen = 'class Params(BaseModel):\n    model_config = {"frozen": True}\n'
        line.write("warned.py", GOOD.replace("class Params(BaseModel):\n", frozen))
        ran = run(line, "warned", "--params", '{"n": 3}')
        assert ran.stderr == line.run("check", "warned").stderr
        assert ran.stderr.startswith("warning: ")


class TestDirectory:
    def test_the_body_works_in_place_and_its_changes_are_listed(
        self, line: CommandLine, folder: Path, where: list[str]
    ) -> None:
        ran = run(line, "edit", "--params", "{}", "--workspace", "files", *where)
        said = "edited\n"
        head = 'demo.edit: COMPLETED, the body took <s> s\nresult: {\n  "files": 4\n}\nworkspace: <cwd>/files\n'
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
        assert ran.stdout.startswith(said + "demo.edit: FAILED, the body took <s> s\nworkspace: <cwd>/files\n")
        assert "  added scratch/left (1 B)\n" in ran.stdout
        assert "result" not in ran.stdout
        assert "error: post_guardrail: post guardrail forbid_glob('scratch/*') matched 1 files\n" in ran.stderr
        assert folder.is_dir()

    def test_what_a_worker_could_not_publish(self, line: CommandLine, folder: Path) -> None:
        line.write("edit.py", EDITING.replace("    print(", "    (workspace / 'link').symlink_to('/')\n    print("))
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


class TestJson:
    KEYS = ("task", "status", "failure", "findings", "result", "body_seconds", "workspace", "metrics")

    def test_success(self, line: CommandLine, folder: Path, where: list[str]) -> None:
        ran = line.run("run", "edit", "--params", "{}", "--workspace", "files", "--json", *where)
        assert (ran.code, ran.stderr) == (0, "edited\n")
        report = json.loads(ran.stdout)
        assert tuple(report) == self.KEYS
        assert 0 < report.pop("body_seconds") < 60
        assert folder.is_dir()
        assert report == {
            "task": "demo.edit",
            "status": "COMPLETED",
            "failure": None,
            "findings": [],
            "result": {"files": 4},
            "workspace": {
                "directory": "<cwd>/files",
                "kept": True,
                "read_only": False,
                "download": None,
                "changes": {
                    "added": [{"path": "new/file.txt", "bytes": 5, "bytes_before": None}],
                    "changed": [{"path": "changed.txt", "bytes": 5, "bytes_before": 7}],
                    "removed": [{"path": "removed.txt", "bytes": None, "bytes_before": 4}],
                },
            },
            "metrics": [
                {"name": "app.depth", "labels": {"task_name": "demo.edit"}, "kind": "gauge", "value": 2.0},
                {
                    "name": "app.edits",
                    "labels": {"kind": "text", "task_name": "demo.edit"},
                    "kind": "histogram",
                    "count": 2,
                    "sum": 4.5,
                },
            ],
        }

    def test_failure(self, line: CommandLine, where: list[str]) -> None:
        line.write("bad.py", body("    print('before')\n    raise LookupError('no song 7')\n"))
        ran = line.run("run", "bad", "--params", '{"n": 3}', "--json", *where, shows_traceback=True)
        assert (ran.code, ran.stderr) == (1, "before\n")
        report = json.loads(ran.stdout)
        assert tuple(report) == self.KEYS
        assert (report["status"], report["result"]) == ("FAILED", None)
        failure = report["failure"]
        assert (failure["code"], failure["reason"], failure["hint"]) == ("body_raised", "no song 7", None)
        assert failure["exception"].startswith("Traceback (most recent call last):\n")

    def test_numbers_pass_untouched(self, line: CommandLine) -> None:
        line.write("good.py", GOOD)
        number = 123456789012345678901234567890
        ran = line.run("run", "good", "--params", f'{{"n": {number}}}', "--json")
        assert f'"result":{{"n":{number}}}' in ran.stdout

    def test_a_body_that_writes_behind_pythons_back(self, line: CommandLine, where: list[str]) -> None:
        line.write("raw.py", body("    import os\n    os.write(1, b'raw\\n')\n    return Result(n=3)\n"))
        ran = line.run("run", "raw", "--params", '{"n": 3}', "--json", *where)
        assert (json.loads(ran.stdout)["status"], ran.stderr) == ("COMPLETED", "raw\n")


class TestRepository:
    @pytest.fixture
    def lake(self, embedded_url: str) -> Lake:
        lake = Lake("embedded", embedded_url, KEY, KEY)
        for name, text in ORIGINAL.items():
            assert lake.put("main", f"audio/{name}", text).status == 201
        assert lake.put("main", "audio2/other.txt", "other").status == 201
        assert lake.commit("main").status == 201
        return lake

    @pytest.fixture
    def store(self, embedded_url: str) -> dict[str, str]:
        return {
            "LAKECTL_SERVER_ENDPOINT_URL": embedded_url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": KEY,
        }

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
        assert list((line.folder / "workspaces").glob("perago-run-*")) == []

    def test_a_branch_stands_for_its_commit_and_the_directory_can_be_kept(
        self, line: CommandLine, lake: Lake, store: dict[str, str]
    ) -> None:
        arguments = ["--params", "{}", "--repository", lake.name, "--ref", "main", "--keep", "--json"]
        report = json.loads(line.run("run", "edit", *arguments, **store).stdout)
        workspace = report["workspace"]
        assert workspace["kept"] is True
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
        command = [*perago_command(), "run", "edit", "--params", "{}", "--repository", lake.name, "--ref", "main"]
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


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_everything(
        self, line: CommandLine, where: list[str], number: signal.Signals, embedded_url: str
    ) -> None:
        lake = Lake("embedded", embedded_url, KEY, KEY)
        assert lake.put("main", "audio/kept.txt", "kept").status == 201
        assert lake.commit("main").status == 201
        line.write("waiting.py", WAITING)
        text = EDITING.replace("    (workspace", f"    import waiting\n    waiting.wait({str(line.cwd)!r})\n    (workspace", 1)
        line.write("edit.py", text)
        mark = f"stop-{number.name}-{len(where)}"
        command = [*perago_command(), "run", "edit", "--params", "{}", "--repository", lake.name, "--ref", "main"]
        store = {
            "LAKECTL_SERVER_ENDPOINT_URL": embedded_url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": KEY,
        }
        with subprocess.Popen(
            [*command, *where],
            cwd=line.cwd,
            env=environment(line.folder, **{MARK: mark, "TMPDIR": str(line.folder)}, **store),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            until(lambda: (line.cwd / "runs").exists(), "the body runs")
            process.send_signal(number)
            process.wait(30)
            if where:
                # Programs of a body in this process are the body's own; they keep our pipes.
                for left in marked(mark):
                    os.kill(left.pid, signal.SIGKILL)
            else:
                until(lambda: not marked(mark), "the executor has taken its programs along")
            stdout, stderr = process.communicate()
        assert (process.returncode, stdout) == (4, "")
        assert timeless(stderr) == (
            "downloaded 1 file, 4 B in <s> s (<rate>)\nwarning: stopped before the attempt had ended\n"
        )
        assert list((line.folder / "workspaces").glob("*")) == []
        assert list(line.folder.glob("perago-run-*")) == []


class TestInProcess:
    def test_breakpoints_work(self, line: CommandLine) -> None:
        line.write("stops.py", body("    breakpoint()\n    return Result(n=params.n)\n"))
        ran = run(line, "stops", "--params", '{"n": 3}', "--in-process", stdin="params.n = 4\np params.n\nc\n")
        assert ran.code == 0
        assert "-> return Result(n=params.n)\n" in ran.stdout
        assert "(Pdb) 4\n" in ran.stdout
        assert ran.stdout.endswith(COMPLETED.replace("3", "4"))
        assert ran.stderr == ""

    def test_leaving_the_debugger_ends_the_run(self, line: CommandLine) -> None:
        line.write("stops.py", body("    breakpoint()\n    return Result(n=params.n)\n"))
        ran = run(line, "stops", "--params", '{"n": 3}', "--in-process", stdin="q\n")
        assert (ran.code, ran.stderr) == (4, "warning: stopped before the attempt had ended\n")
        assert "COMPLETED" not in ran.stdout

    def test_with_json_the_debugger_speaks_on_standard_error(self, line: CommandLine) -> None:
        line.write("stops.py", body("    breakpoint()\n    return Result(n=params.n)\n"))
        ran = run(line, "stops", "--params", '{"n": 3}', "--in-process", "--json", stdin="p params.n\nc\n")
        assert json.loads(ran.stdout)["result"] == {"n": 3}
        assert "(Pdb) 3\n" in ran.stderr

    def test_a_body_that_exits(self, line: CommandLine) -> None:
        line.write("ends.py", body("    import sys\n    sys.exit(3)\n"))
        ran = failing(line, "ends", "--params", '{"n": 3}', "--in-process")
        assert (ran.code, ran.stdout) == (1, "demo.good: FAILED, the body took <s> s\n")
        assert ran.stderr.startswith("error: executor_exited: the body raised SystemExit, which ends its process\n")

    def test_it_is_the_process_of_the_command(self, line: CommandLine) -> None:
        text = "    import os, logging\n    logging.getLogger('app').info('here')\n    return Result(n=os.getpid())\n"
        line.write("pid.py", body(text))
        command = [*perago_command(), "run", "pid", "--params", '{"n": 3}', "--in-process", "--json"]
        with subprocess.Popen(
            command,
            cwd=line.cwd,
            env=environment(line.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            stdout, stderr = process.communicate()
        assert (json.loads(stdout)["result"], stderr) == ({"n": process.pid}, "INFO app: here\n")


def test_the_module_is_found_as_by_a_worker(line: CommandLine) -> None:
    line.write("good.py", GOOD)
    for name in ("json", "logging", "signal", "pydantic", "perago"):
        line.write(f"{name}.py", "raise RuntimeError('the wrong module')\n")
    ran = run(line, "good", "--params", '{"n": 3}')
    assert (ran.code, ran.stdout, ran.stderr) == (0, COMPLETED, "")
