"""The object that `perago run --json` prints."""

from __future__ import annotations

import json
from pathlib import Path

from support.command import CommandLine

from .modules import GOOD
from .running import body


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
