from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command import SECRETS, CommandLine

from .modules import GOOD, SEVERAL, SUMMARY, TWO

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOT_A_MODULE = """\
error: module target must be a Python import path, not a file path or object path
  hint: name the module as Python imports it, for example app.workers.features
"""
LOADER_HINT = "  hint: look at what the module does when it is imported: it must not exit or crash\n"


def test_a_good_module(line: CommandLine) -> None:
    line.write("good.py", GOOD)
    ran = line.run("check", "good")
    assert (ran.code, ran.stdout, ran.stderr) == (0, "ok: demo.good\n" + SUMMARY.format(module="good"), "")


def test_what_is_configured_is_said_without_its_values(line: CommandLine) -> None:
    line.write("app/workers/good.py", GOOD)
    settings = {
        "CONDUCTOR_SERVER_URL": "http://localhost:8080/api",
        "LAKECTL_SERVER_ENDPOINT_URL": "http://localhost:8000",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://localhost:8428/opentelemetry/v1/metrics",
    }
    ran = line.run("check", "app.workers.good", **settings, **SECRETS)
    assert (ran.code, ran.stderr) == (0, "")
    summary = SUMMARY.format(module="appworkersgood").replace("not configured", "configured")
    assert ran.stdout == "ok: demo.good\n" + summary


def test_a_metrics_endpoint_that_is_no_url_is_an_error_that_does_not_repeat_it(line: CommandLine) -> None:
    line.write("good.py", GOOD)
    endpoint = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "user:never-shown@receiver:8428"}
    for command in ("check", "start"):
        ran = line.run(command, "good", **endpoint)
        assert ran.code == 1
        assert (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT must be the http:// or https:// URL of a receiver"
            in ran.stderr
        )


@pytest.mark.parametrize(
    ("module", "text", "stderr"),
    [
        (
            "syntax",
            "import os\n\ndef broken(:\n    pass\n",
            "error: SyntaxError: invalid syntax\n  --> <cwd>/syntax.py:3\n",
        ),
        (
            "missing",
            "import os\nimport no_such_package\n",
            "error: ModuleNotFoundError: No module named 'no_such_package'\n  --> <cwd>/missing.py:2\n"
            "  hint: install the package that has it into the environment of this Python\n",
        ),
        (
            "two",
            TWO,
            "error: two declares more than one Perago task, on lines 14, 19\n  --> <cwd>/two.py:19\n"
            "  hint: a worker runs one task; give each task a module of its own\n",
        ),
        (
            "none",
            "x = 1\n",
            "error: none does not declare a Perago task\n  --> <cwd>/none.py\n"
            "  hint: decorate one function of this module with @task(...); imported tasks do not count\n",
        ),
        (
            "imported",
            "from good import good\n",
            "error: imported does not declare a Perago task\n  --> <cwd>/imported.py\n"
            "  hint: decorate one function of this module with @task(...); imported tasks do not count\n",
        ),
        (
            "signature",
            GOOD.replace("def good(params:", "def good(parameters:"),
            "error: task parameter must be named params, not parameters\n  --> <cwd>/signature.py:14\n"
            "error: params must be annotated with a pydantic BaseModel class\n  --> <cwd>/signature.py:14\n",
        ),
        (
            "several",
            SEVERAL,
            "error: workspace path must be relative to the workspace\n  --> <cwd>/several.py:10\n"
            "error: RetryPolicy.count: Input should be less than or equal to 10 [less_than_equal]\n"
            "  --> <cwd>/several.py:13\n"
            "error: task name is required\n  --> <cwd>/several.py:13\n"
            "error: owner_email is required\n  --> <cwd>/several.py:13\n"
            "error: task must not use *args, **kwargs, keyword-only or positional-only parameters\n"
            "  --> <cwd>/several.py:13\n",
        ),
        (
            "raises",
            "def look():\n    raise LookupError('no table')\n\nlook()\n",
            "error: LookupError: no table\n  --> <cwd>/raises.py:2\n",
        ),
        (
            "exits",
            "import sys\nsys.exit(0)\n",
            "error: the module ended Python while it was imported\n  --> <cwd>/exits.py:2\n"
            "  hint: run programs under `if __name__ == '__main__'`\n",
        ),
        (
            "hard",
            "import os\nos._exit(9)\n",
            "error: the process that imports hard ended before it had: exit status: 9\n" + LOADER_HINT,
        ),
        (
            "native",
            "import ctypes\nctypes.string_at(0)\n",
            "error: the process that imports native ended before it had: signal: 11 (SIGSEGV)\n"
            + LOADER_HINT,
        ),
    ],
)
def test_modules_that_cannot_be_used(line: CommandLine, module: str, text: str, stderr: str) -> None:
    line.write("good.py", GOOD)
    line.write(f"{module}.py", text)
    ran = line.run("check", module)
    seen = ran.stderr.replace(" (core dumped)", "")
    assert (ran.code, ran.stdout, seen) == (1, "", stderr)


def test_the_innermost_place_of_a_failing_import_is_named(line: CommandLine) -> None:
    line.write("app/__init__.py", "")
    line.write("app/helpers.py", "KNOWN = 1\n")
    line.write("app/middle.py", "import os\nfrom app.helpers import UNKNOWN\n")
    line.write("app/worker.py", "from app import middle\n")
    ran = line.run("check", "app.worker")
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "error: ImportError: cannot import name 'UNKNOWN' from 'app.helpers' (<cwd>/app/helpers.py)\n"
        "  --> <cwd>/app/middle.py:2\n"
    )


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("loguru", "loguru"),
        ("lakefs", "lakefs"),
        ("conductor.client.worker", "conductor-python"),
        ("opentelemetry.metrics", "opentelemetry-sdk"),
        ("typer", "typer"),
    ],
)
def test_packages_that_came_with_0_6_are_named(line: CommandLine, name: str, package: str) -> None:
    top = name.partition(".")[0]
    # Some of them may be installed beside the tests.
    line.write("former.py", f"import sys\nsys.modules[{top!r}] = None\nimport {name}\n")
    ran = line.run("check", "former")
    assert (ran.code, ran.stdout) == (1, "")
    assert "  --> <cwd>/former.py:3\n" in ran.stderr
    assert (
        f"  hint: perago 0.6 installed {package} for its own use; now add it to your own dependencies\n"
        in ran.stderr
    )


def test_what_a_module_prints_goes_to_standard_error(line: CommandLine) -> None:
    line.write("loud.py", "print('from the import')\n" + GOOD)
    ran = line.run("check", "loud", "--format", "json")
    assert (ran.code, ran.stderr) == (0, "from the import\n")
    assert json.loads(ran.stdout)["ok"] is True


@pytest.mark.parametrize("target", ["good.py", "a/b", "good:good", ".good", "a..b", "a\\b", "1a"])
def test_targets_that_are_no_import_path(line: CommandLine, target: str) -> None:
    line.write("good.py", GOOD)
    ran = line.run("check", target, PERAGO_WORKER_ID_PREFIX="x")
    assert (ran.code, ran.stdout, ran.stderr) == (1, "", NOT_A_MODULE)


@pytest.mark.parametrize("target", ["absent", "absent.deeper", "good.deeper"])
def test_modules_that_are_not_found(line: CommandLine, target: str) -> None:
    line.write("good.py", GOOD)
    ran = line.run("check", target)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: ModuleNotFoundError: No module named ")


def test_the_current_directory_hides_nothing(line: CommandLine) -> None:
    line.write("good.py", GOOD)
    for name in ("json", "types", "logging", "socket", "pydantic", "typing", "enum", "signal", "perago"):
        line.write(f"{name}.py", "raise RuntimeError('the wrong module')\n")
    ran = line.run("check", "good")
    assert (ran.code, ran.stderr) == (0, "")


def test_a_module_of_the_python_path_wins_over_the_current_directory(line: CommandLine) -> None:
    line.write("good.py", "raise RuntimeError('the wrong module')\n")
    line.write("elsewhere/good.py", GOOD)
    ran = line.run("check", "good", PYTHONPATH=str(line.cwd / "elsewhere"))
    assert (ran.code, ran.stderr) == (0, "")


class TestSettings:
    @pytest.fixture(autouse=True)
    def module(self, line: CommandLine) -> None:
        line.write("good.py", GOOD)

    def test_dotenv_is_read_and_the_environment_wins(self, line: CommandLine) -> None:
        line.write(
            ".env", "export PERAGO_WORKER_ID_PREFIX='fromfile'\nCONDUCTOR_SERVER_URL=http://localhost/api\n"
        )
        assert "worker_id_prefix: fromfile\nconductor: configured\n" in line.run("check", "good").stdout
        ran = line.run("check", "good", PERAGO_WORKER_ID_PREFIX="given")
        assert "worker_id_prefix: given\n" in ran.stdout

    def test_every_bad_value_is_found_at_once_with_the_module_s(self, line: CommandLine) -> None:
        line.write("none.py", "x = 1\n")
        line.write(
            ".env", "PERAGO_LOG_RETENTION=soon\nPERAGO_EXECUTION_MODE=fork\nCONDUCTOR_SERVER_URL=replace-me\n"
        )
        ran = line.run(
            "check",
            "none",
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://h/v1",
            OTEL_METRIC_EXPORT_INTERVAL="10s",
        )
        assert (ran.code, ran.stdout) == (1, "")
        errors = [text for text in ran.stderr.splitlines() if text.startswith("error: ")]
        for name in (
            "PERAGO_LOG_RETENTION",
            "PERAGO_EXECUTION_MODE",
            "CONDUCTOR_SERVER_URL must be replaced with a real value",
            "OTEL_METRIC_EXPORT_INTERVAL",
            "none does not declare a Perago task",
        ):
            assert len([text for text in errors if name in text]) == 1, (name, ran.stderr)
        assert len(errors) == 5

    def test_secrets_that_cannot_be_used_are_not_shown(self, line: CommandLine) -> None:
        line.write(".env", "".join(f"{name}={value}\n" for name, value in SECRETS.items()))
        ran = line.run("check", "good", LAKECTL_CREDENTIALS_ACCESS_KEY_ID="")
        assert ran.code == 1
        assert "LakeFS config is incomplete; missing " in ran.stderr

    def test_a_dotenv_that_cannot_be_read(self, line: CommandLine) -> None:
        (line.cwd / ".env").write_bytes(b"A=\xff\xfe\n")
        ran = line.run("check", "good")
        assert (ran.code, ran.stdout) == (1, "")
        assert ran.stderr.startswith("error: <cwd>/.env ")
        (line.cwd / ".env").unlink()
        (line.cwd / ".env").mkdir()
        ran = line.run("check", "good")
        assert ran.code == 1
        assert ran.stderr.startswith("error: <cwd>/.env ")

    def test_a_root_that_cannot_be_written(self, line: CommandLine) -> None:
        line.write("file", "")
        ran = line.run("check", "good", PERAGO_WORKSPACE_ROOT=str(line.cwd / "file" / "below"))
        assert (ran.code, ran.stdout) == (1, "")
        assert ran.stderr == (
            "error: <cwd>/file/below is not writable: Not a directory (os error 20)\n"
            "  hint: set PERAGO_WORKSPACE_ROOT to a directory that can be written\n"
        )

    def test_a_variable_with_a_typing_error_is_warned_about(self, line: CommandLine) -> None:
        ran = line.run("check", "good", PERAGO_WORKSPCE_ROOT="/x")
        assert ran.code == 0
        assert ran.stderr == (
            "warning: PERAGO_WORKSPCE_ROOT is not a variable of Perago; it is ignored\n"
            "  hint: did you mean PERAGO_WORKSPACE_ROOT?\n"
        )


class TestJson:
    def test_a_good_module(self, line: CommandLine) -> None:
        line.write("good.py", GOOD)
        ran = line.run("check", "--format", "json", "good")
        assert (ran.code, ran.stderr) == (0, "")
        report = json.loads(ran.stdout)
        assert list(report) == ["ok", "task", "findings", "configuration", "task_def"]
        assert (report["ok"], report["task"], report["findings"]) == (True, "demo.good", [])
        assert report["configuration"]["worker_id_prefix"] == "good"
        assert report["task_def"]["name"] == "demo.good"
        assert report["task_def"]["inputKeys"] == ["params"]

    def test_findings_have_stable_codes_and_places(self, line: CommandLine) -> None:
        line.write("several.py", SEVERAL)
        ran = line.run("check", "--format", "json", "several")
        assert (ran.code, ran.stderr) == (1, "")
        report = json.loads(ran.stdout)
        assert (report["ok"], report["task_def"]) == (False, None)
        seen = [(one["code"], one["severity"], one["file"], one["line"]) for one in report["findings"]]
        file = "<cwd>/several.py"
        assert seen == [
            ("PERAGO-GUARDRAIL-PATH", "error", file, 10),
            ("PERAGO-SPEC", "error", file, 13),
            ("PERAGO-TASK-NAME", "error", file, 13),
            ("PERAGO-OWNER-EMAIL", "error", file, 13),
            ("PERAGO-SIGNATURE", "error", file, 13),
        ]

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("def x(:\n", "PERAGO-MODULE-SYNTAX"),
            ("import no_such_package\n", "PERAGO-MODULE-IMPORT"),
            ("x = 1\n", "PERAGO-NO-TASK"),
            (TWO, "PERAGO-MANY-TASKS"),
            ("import os\nos._exit(1)\n", "PERAGO-MODULE-ENDED"),
        ],
    )
    def test_codes(self, line: CommandLine, text: str, code: str) -> None:
        line.write("some.py", text)
        ran = line.run("check", "some", "--format", "json")
        assert ran.code == 1
        assert [one["code"] for one in json.loads(ran.stdout)["findings"]] == [code]


class TestMetricsPage:
    """The two modules of the page that the metrics were made for."""

    @pytest.mark.parametrize(
        ("module", "task"), [("metadata_validate", "metadata.validate"), ("features_build", "features.build")]
    )
    def test_pass_as_printed(self, line: CommandLine, module: str, task: str) -> None:
        text = (EXAMPLES / f"{module}.py").read_text()
        line.write(f"{module}.py", text)
        ran = line.run("check", module)
        assert (ran.code, ran.stderr) == (0, "")
        assert ran.stdout == f"ok: {task}\n" + SUMMARY.format(module=module.replace("_", ""))
        configured = line.run(
            "check",
            module,
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://localhost:8428/opentelemetry/v1/metrics",
        )
        assert "metrics: configured\n" in configured.stdout

        spec = text.replace("    metrics=MetricSpec(),\n", "")
        assert spec != text
        line.write(f"{module}.py", spec)
        without_spec = line.run("check", module)
        assert without_spec.code == 1
        assert without_spec.stderr.startswith("error: metrics parameter requires metrics=MetricSpec(...)\n")
        assert f"  --> <cwd>/{module}.py:" in without_spec.stderr

        parameter = text.replace("    metrics: MetricRecorder,\n", "")
        assert parameter != text
        line.write(f"{module}.py", parameter)
        without_parameter = line.run("check", module)
        assert without_parameter.code == 1
        assert without_parameter.stderr.startswith(
            "error: metrics=MetricSpec(...) requires a metrics parameter\n"
        )


class TestBuckets:
    """Bounds of histograms, and timeouts beyond them."""

    def check(self, line: CommandLine, *arguments: str, spec: str, timeout: str = "") -> tuple[int, str, str]:
        """Check the page's module with another spec and timeout."""
        text = (EXAMPLES / "metadata_validate.py").read_text()
        text = text.replace("metrics=MetricSpec(),", f"metrics=MetricSpec({spec}),{timeout}")
        text = text.replace("import MetricRecorder", "import TaskControls, TimeoutPolicy, MetricRecorder")
        line.write("some.py", text)
        ran = line.run("check", "some", *arguments)
        return ran.code, ran.stdout, ran.stderr

    @pytest.mark.parametrize(
        ("spec", "text"),
        [
            (
                "buckets={'calls': [1, 2, 2]}",
                "bounds of calls must increase strictly, but 2 is followed by 2",
            ),
            ("buckets={'calls': []}", "bounds of calls must be 1 to 200 in number, not 0"),
            ("buckets={'calls': range(201)}", "bounds of calls must be 1 to 200 in number, not 201"),
            ("buckets={'app.calls': [1]}", "app.calls begins with app."),
            ("buckets={'runtime.busy_slots': [1]}", "runtime.busy_slots is not a built-in histogram"),
            ("buckets={'no spaces': [1]}", '"no spaces" is not a metric name'),
        ],
    )
    def test_broken_rules(self, line: CommandLine, spec: str, text: str) -> None:
        code, _, stderr = self.check(line, spec=spec)
        assert code == 1
        assert f"error: MetricSpec.buckets: {text}\n  --> <cwd>/some.py:" in stderr
        code, stdout, _ = self.check(line, "--format", "json", spec=spec)
        assert [one["code"] for one in json.loads(stdout)["findings"]] == ["PERAGO-METRIC-BUCKETS"]

    def test_a_timeout_beyond_the_last_bucket(self, line: CommandLine) -> None:
        timeout = " controls=TaskControls(timeout=TimeoutPolicy(seconds=86400)),"
        code, _, stderr = self.check(line, spec="", timeout=timeout)
        assert code == 0
        assert "TimeoutPolicy.seconds=86400 lies beyond the last bucket of" in stderr
        code, stdout, _ = self.check(line, "--format", "json", spec="", timeout=timeout)
        findings = json.loads(stdout)["findings"]
        assert [(one["code"], one["severity"]) for one in findings] == [
            ("PERAGO-TIMEOUT-BEYOND-BUCKETS", "warning")
        ]
        buckets = "buckets={'runtime.task_attempt_duration_seconds': [1, 86400]}"
        assert self.check(line, spec=buckets, timeout=timeout)[::2] == (0, "")
        assert self.check(line, spec="attempts=False", timeout=timeout)[::2] == (0, "")
