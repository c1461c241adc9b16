"""The pipeline of the demo with tasks in Python, in Rust and in turns: nobody can tell them apart.

Each language polls queues of its own, by domain, so that one run after the other says who does which step.
"""

from __future__ import annotations

import json
import subprocess
import uuid
import wave
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from perago.demo.songs import song, write_wav
from support.command import environment, perago_command
from support.conductor import Conductor
from support.metrics import MetricStore
from support.rust import rust_program
from support.waiting import until
from support.worker import MODULES, Worker
from support.workspaces import Workspaces

STEPS = {"validate": "metadata.validate", "features": "features.build", "transcribe": "audio.transcribe"}
SOURCES = {"validate": "workflow.input", "features": "validate.output", "transcribe": "features.output"}
LANGUAGES = ("python", "rust")
# Both languages do each step equally often.
WAYS = (
    ("python", "python", "python"),
    ("rust", "rust", "rust"),
    ("rust", "python", "rust"),
    ("python", "rust", "python"),
)
# What a commit says of its run, whose input names its branch, and of its code; and of nothing else.
IDS = ("workflow_instance_id", "task_id", "execution_id", "worker_id", "link", "input_hash", "code_hash")
# What two runs never do in the same time.
TIMES = ("metadata_lookup", "feature_pass", "model_call", "seconds")


def command(language: str, step: str) -> tuple[list[str], str]:
    """The command line of a language, and what it calls the task of a step."""
    task = STEPS[step]
    if language == "python":
        return perago_command(), "perago.demo." + task.replace(".", "_")
    return [str(rust_program("example-tasks"))], task


def task_def(language: str, step: str, folder: Path) -> Any:
    program, task = command(language, step)
    path = folder / f"{language}.{step}.json"
    subprocess.run(
        [*program, "extract", task, "-o", str(path)],
        cwd=MODULES,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return json.loads(path.read_text(encoding="utf-8"))


def played(number: int, folder: Path) -> bytes:
    path = folder / "song.wav"
    write_wav(song(number), path)
    return path.read_bytes()


class Pipeline:
    """Workers of both languages for every step, one repository and one workflow."""

    def __init__(self, conductor: Conductor, store: MetricStore, lake_url: str, folder: Path) -> None:
        self.conductor, self.store = conductor, store
        self.mark = uuid.uuid4().hex[:8]
        self.name = f"suite.{self.mark}"
        self.workspaces = Workspaces(lake_url, {"recording.wav": played(1, folder)})
        self.lake = self.workspaces.lake
        for step in STEPS:
            described = {language: task_def(language, step, folder) for language in LANGUAGES}
            assert described["rust"] == described["python"], step
            conductor.call("POST", "/metadata/taskdefs", [{**described["rust"], "retryCount": 0}])
        tasks = [
            {
                "name": task,
                "taskReferenceName": step,
                "type": "SIMPLE",
                "inputParameters": {
                    "workspace": f"${{{SOURCES[step]}.workspace}}",
                    "params": f"${{workflow.input.params.{step}}}",
                },
            }
            for step, task in STEPS.items()
        ]
        workflow = {"name": self.name, "version": 1, "schemaVersion": 2, "ownerEmail": "tests@example.com"}
        limits = {"timeoutPolicy": "ALERT_ONLY", "timeoutSeconds": 0}
        conductor.call("PUT", "/metadata/workflow", [{**workflow, **limits, "tasks": tasks}])

    def workers(self, folder: Path) -> Iterator[Worker]:
        for language in LANGUAGES:
            settings = {
                **self.workspaces.variables,
                "CONDUCTOR_WORKER_ALL_DOMAIN": self.domain(language),
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": self.store.endpoint,
                "OTEL_METRIC_EXPORT_INTERVAL": "300",
                "PERAGO_INSTANCE_ID": self.domain(language),
                "OTEL_RESOURCE_ATTRIBUTES": f"suite={self.mark},language={language}",
            }
            for step, task in STEPS.items():
                program, target = command(language, step)
                root = folder / f"{language}-{step}"
                if language == "python":
                    yield Worker(root, self.conductor.url, task, module=target, **settings)
                else:
                    yield Worker(root, self.conductor.url, task, target, program=Path(*program), **settings)

    def domain(self, language: str) -> str:
        return f"{language}-{self.mark}"

    def branch(self, files: dict[str, bytes] | None = None, without: str | None = None) -> dict[str, str]:
        """A branch of its own with some files changed; return what a task gets as its workspace."""
        name = f"b{uuid.uuid4().hex[:8]}"
        assert self.lake.branch(name).status == 201
        for path, content in (files or {}).items():
            assert self.lake.put(name, path, content).status == 201
        if without is not None:
            assert self.lake.here("DELETE", f"/branches/{name}/objects", path=without).status == 204
        if files or without:
            assert self.lake.commit(name).status == 201
        return {
            "repository": self.lake.name,
            "branch": name,
            "refType": "commit",
            "ref": self.lake.head(name),
        }

    def start(
        self, way: tuple[str, ...], workspace: dict[str, str], params: dict[str, Any] | None = None
    ) -> str:
        domains = {task: self.domain(language) for task, language in zip(STEPS.values(), way, strict=True)}
        given = {step: (params or {}).get(step, {}) for step in STEPS}
        return self.conductor.start(self.name, given, workspace, taskToDomain=domains)

    def commits(self, branch: str) -> list[dict[str, Any]]:
        """What tasks have committed to a branch, without what tells one run from another."""
        page = self.lake.here("GET", f"/refs/{branch}/commits", first_parent="true").json["results"]
        published = [commit for commit in page if "perago.task_name" in commit["metadata"]]
        return [
            {
                "message": commit["message"].replace(commit["metadata"]["perago.workflow_instance_id"], "ID"),
                "committer": commit["committer"],
                "metadata": {
                    key: None if any(name in key for name in IDS) else value
                    for key, value in commit["metadata"].items()
                },
            }
            for commit in published
        ]

    def series(self, language: str) -> dict[str, float | None]:
        """The last values of every series of a language; those of times as None."""
        found = {}
        for one in self.store.exported(None, suite=self.mark, language=language):
            labels = dict(one["metric"])
            name = labels.pop("__name__")
            for own in ("language", "perago_instance_id", "service.instance.id"):
                labels.pop(own, None)
            is_time = any(word in name for word in TIMES) and not name.endswith("_count")
            found[f"{name}{sorted(labels.items())}"] = None if is_time else one["values"][-1]
        return found


@pytest.fixture(scope="module")
def pipeline(
    conductor: Conductor,
    embedded_url: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pipeline]:
    """The store of files is the embedded one throughout; the other servers are embedded or real."""
    is_real = conductor.kind == "real"
    store = MetricStore(request.getfixturevalue("real_victoria_metrics_url") if is_real else embedded_url)
    folder = tmp_path_factory.mktemp("pipeline")
    pipeline = Pipeline(conductor, store, embedded_url, folder)
    with ExitStack() as stack:
        workers = []
        for worker in pipeline.workers(folder):
            stack.callback(worker.end)
            workers.append(worker)
        for worker in workers:
            worker.wait_ready()
        yield pipeline


def test_results_commits_and_metrics_are_the_same(pipeline: Pipeline) -> None:
    workspaces = [pipeline.branch() for _ in WAYS]
    runs = [pipeline.start(way, workspace) for way, workspace in zip(WAYS, workspaces, strict=True)]
    done = [pipeline.conductor.wait(run) for run in runs]
    results = [[task["outputData"].get("result") for task in run["tasks"]] for run in done]
    assert [run["status"] for run in done] == ["COMPLETED"] * len(WAYS), done
    assert results[0][2]["melody"] == "C4 D4 E4 C4 C4 D4 E4 C4 E4 F4 G4 E4 F4 G4"
    assert results[1:] == results[:1] * 3
    branches = [workspace["branch"] for workspace in workspaces]
    trees = [pipeline.lake.tree(branch) for branch in branches]
    assert set(trees[0]) == {"recording.wav", "features.json"}
    assert trees[1:] == trees[:1] * 3
    commits = [pipeline.commits(branch) for branch in branches]
    assert len(commits[0]) == 1
    assert commits[1:] == commits[:1] * 3

    def are_equal() -> bool:
        python, rust = pipeline.series("python"), pipeline.series("rust")
        frames = results[0][1]["frames"]
        counted = [value for name, value in rust.items() if name.startswith("app.frame_level_count")]
        return python == rust and counted == [2.0 * frames]

    try:
        until(are_equal, "equal series")
    except AssertionError:
        python, rust = (set(pipeline.series(language).items()) for language in LANGUAGES)
        raise AssertionError(f"python alone: {python - rust}\nrust alone: {rust - python}") from None


def stereo(folder: Path) -> bytes:
    path = folder / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(4 * 16_000))
    return path.read_bytes()


def test_failures_are_the_same(pipeline: Pipeline, tmp_path: Path) -> None:
    terminal = "FAILED_WITH_TERMINAL_ERROR"
    whole, changed = pipeline.branch(), pipeline.branch({"recording.wav": stereo(tmp_path)})
    cases = [
        (whole, {"validate": {"min_duration_seconds": 600}}, terminal, "is shorter than 600 s"),
        (changed, {}, terminal, "recording.wav: 2 channels instead of one"),
        (pipeline.branch({"recording.wav": b"no sound"}), {}, terminal, "recording.wav is not a WAV file: "),
        (pipeline.branch(without="recording.wav"), {}, None, "recording.wav"),
        (whole, {"validate": {"min_duration_seconds": [1]}}, "FAILED", "params.min_duration_seconds: "),
        (whole, {"validate": {"min_duration_seconds": None}}, "FAILED", "params.min_duration_seconds: "),
        (whole, {"features": {"peak_window_seconds": {}}}, "FAILED", "params.peak_window_seconds: "),
    ]
    runs = [
        [pipeline.start((language,) * 3, workspace, params) for language in LANGUAGES]
        for workspace, params, _, _ in cases
    ]
    for (_, params, status, said), pair in zip(cases, runs, strict=True):
        python, rust = (pipeline.conductor.wait(run)["tasks"][-1] for run in pair)
        assert rust["status"] == python["status"], params
        assert rust["status"] == status or status is None, params
        reasons = [str(task["reasonForIncompletion"]) for task in (python, rust)]
        if said.endswith("WAV file: "):
            # What is wrong with it is the word of each language's library.
            reasons = [reason[: reason.index(said) + len(said)] for reason in reasons]
        assert reasons[1] == reasons[0]
        assert said in reasons[0]
        assert rust["outputData"] == python["outputData"]
