"""`perago run`: one attempt without Conductor."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from support.command import CommandLine
from support.processes import MARK, marked
from support.waiting import until

from .modules import GOOD, SEVERAL, TWO
from .running import COMPLETED, body, failing, run


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
        text = body("    raise TaskTerminalError('never')\n").replace(
            "import task", "import TaskTerminalError, task"
        )
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
            "  hint: perago check with --format json shows the schema of the parameters\n"
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
        ("call", "code", "ended", "hint"),
        [
            (
                "_exit(9)", "executor_exited", "exited with status 9",
                "the body, or a library that it uses, ended the process",
            ),
            (
                "kill(os.getpid(), 9)", "executor_killed", "was killed by SIGKILL",
                "look for a crash of a native library or for somebody who sent the signal",
            ),
        ],
    )  # fmt: skip
    def test_a_body_that_ends_its_process(
        self, line: CommandLine, call: str, code: str, ended: str, hint: str
    ) -> None:
        line.write("ends.py", body(f"    import os\n    os.{call}\n"))
        ran = run(line, "ends", "--params", '{"n": 3}')
        assert (ran.code, ran.stdout) == (1, "demo.good: FAILED\n")
        assert ran.stderr == (
            f"error: {code}: the executor process {ended} while it ran the body\n  hint: {hint}\n"
        )

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

    def test_lines_of_several_writers_stay_whole(self, line: CommandLine) -> None:
        text = (
            "    import subprocess\n"
            "    with subprocess.Popen(['sh', '-c', 'for i in $(seq 500); do echo program; done']):\n"
            "        for _ in range(500):\n"
            "            print('body')\n"
            "    return Result(n=3)\n"
        )
        line.write("busy.py", body(text))
        ran = run(line, "busy", "--params", '{"n": 3}')
        assert sorted(ran.stderr.splitlines()) == ["body"] * 500 + ["program"] * 500

    def test_nothing_that_a_body_started_is_left(self, line: CommandLine) -> None:
        line.write(
            "leaves.py",
            body("    import subprocess\n    subprocess.Popen(['sleep', '300'])\n    return Result(n=3)\n"),
        )
        mark = uuid.uuid4().hex
        ran = run(line, "leaves", "--params", '{"n": 3}', **{MARK: mark})
        assert (ran.code, ran.stdout) == (0, COMPLETED)
        until(lambda: not marked(mark), "the program has ended")


class TestUsage:
    @pytest.mark.parametrize(
        ("params", "error"),
        [
            ("{", "error: --params is not JSON: EOF while parsing an object at line 1 column 1\n"),
            (
                "@absent.json",
                "error: --params @absent.json cannot be read: No such file or directory (os error 2)\n",
            ),
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
        findings = json.loads(
            line.run("check", module, "--format", "json", PERAGO_WORKER_ID_PREFIX="x").stdout
        )
        assert report["findings"] == findings["findings"]

    def test_warnings_are_shown(self, line: CommandLine) -> None:
        frozen = 'class Params(BaseModel):\n    model_config = {"frozen": True}\n'
        line.write("warned.py", GOOD.replace("class Params(BaseModel):\n", frozen))
        ran = run(line, "warned", "--params", '{"n": 3}')
        assert ran.stderr == line.run("check", "warned").stderr
        assert ran.stderr.startswith("warning: ")


def test_the_module_is_found_as_by_a_worker(line: CommandLine) -> None:
    line.write("good.py", GOOD)
    for name in ("json", "logging", "signal", "pydantic", "perago"):
        line.write(f"{name}.py", "raise RuntimeError('the wrong module')\n")
    ran = run(line, "good", "--params", '{"n": 3}')
    assert (ran.code, ran.stdout, ran.stderr) == (0, COMPLETED, "")
