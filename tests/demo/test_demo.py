"""`perago demo` as a user starts it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from perago.demo._recording import RECORDING
from perago.demo.features_build import FEATURES, Features
from perago.demo.songs import song, write_wav
from support.lake import KEY, Lake
from support.waiting import SLACK_SECONDS, until

COMMAND = [sys.executable, "-m", "perago", "demo"]
READY = "workers ready"
GONE_SECONDS = 5.0 + SLACK_SECONDS
# A worker without its demo tries its last push of metrics for two seconds.
WORKERS_GONE_SECONDS = 2.0 + GONE_SECONDS
SIGNS = {"added": "+", "changed": "~", "removed": "-"}
DOWNLOADS = {
    'runtime.workspace_io_bytes{operation="download"}': 3,
    'runtime.workspace_io_duration_seconds{operation="download"}': 3,
}
# More than can be done before a test reacts to READY.
MANY_SONGS = 20


class Demo:
    """A started demo whose temporary folder, and whose processes, are told apart by their TMPDIR."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        self.elsewhere = elsewhere
        self.environment = {**os.environ, "TMPDIR": str(self.temporary), **variables}
        self.arguments = [*COMMAND, *arguments]

    @contextlib.contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.arguments,
            cwd=self.elsewhere,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def run(self) -> subprocess.CompletedProcess[str]:
        with self.started() as process:
            output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(self.arguments, process.returncode, output, errors)

    def processes(self) -> dict[int, str]:
        """Command lines of all processes that belong to this demo."""
        marker = f"TMPDIR={self.temporary}\0".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and marker in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
        return found

    def child(self, process: subprocess.Popen[str], module: str) -> int:
        """The worker of a module that the demo has started itself."""
        for candidate, command_line in self.processes().items():
            parent = int(Path(f"/proc/{candidate}/stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and f"start {module}" in command_line:
                return candidate
        raise AssertionError(f"no worker of {module} among {self.processes()}")

    def assert_gone(self, seconds: float = 0.0) -> None:
        """No process of this demo is left after some seconds."""
        deadline = time.monotonic() + seconds
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process)
                try:
                    select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
                finally:
                    os.close(descriptor)
        assert self.processes() == {}


@dataclass
class Commit:
    """A commit as the demo prints it: short id, author, message, and sign, path and size of each change."""

    id: str
    author: str
    message: str
    changes: list[tuple[str, str, str]] = field(default_factory=list)


def commits(lines: list[str]) -> list[Commit]:
    """The commits below a song's tasks."""
    found: list[Commit] = []
    for line in lines:
        if commit := re.fullmatch(r"  commit ([0-9a-f]{12})  (\S+) +(\S.*)", line):
            found.append(Commit(*commit.groups()))
        else:
            change = re.fullmatch(r"    ([+~-]) (\S+) +(\S+ (?:B|KiB))", line)
            assert change, line
            found[-1].changes.append(change.groups())  # type: ignore[arg-type]
    return found


def shown_size(count: int) -> str:
    """Bytes as the demo prints them."""
    return f"{count} B" if count < 1024 else f"{count / 1024:.2f} KiB"


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if READY in line:
            return
    raise AssertionError(f"the demo ended before its workers were ready: {process.communicate()[1]}")


def test_every_song_task_and_metric_is_shown(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    done = demo.run()
    assert (done.returncode, done.stderr) == (0, "")
    demo.assert_gone()
    assert list(demo.temporary.iterdir()) == []
    assert "\x1b" not in done.stdout

    blocks = re.split(r"\n\n", done.stdout)
    songs = [song(number) for number in range(3)]
    for block, played in zip(blocks[1:4], songs, strict=True):
        title, *lines = block.splitlines()
        assert title == f"♪ {played.title}  lakefs://songs/{played.song_id}"
        tasks = lines[:3]
        names = [line.split()[0] for line in tasks]
        assert names == ["metadata.validate", "features.build", "audio.transcribe"]
        for line in tasks:
            assert re.search(r"queued +\d+ ms  run +\d+ ms  \w", line), line
        assert f"duration_seconds {played.seconds:.2f}".rstrip("0") in tasks[0]
        melody = " ".join(note.name for note in played.notes)
        assert f"melody {melody}  notes ×{len(played.notes)}" in tasks[2]
        recorded, published = commits(lines[3:])
        write_wav(played, tmp_path / RECORDING)
        size = (tmp_path / RECORDING).stat().st_size
        assert (recorded.author, recorded.message) == ("admin", f"record {played.title}")
        assert recorded.changes == [("+", RECORDING, shown_size(size))]
        assert published.author == "features.build"
        assert [change[:2] for change in published.changes] == [("+", FEATURES)]

    notes = sum(len(played.notes) for played in songs)
    frames = sum(round(100 * played.seconds) for played in songs)
    counts = {
        "metadata.validate": {
            "app.checked_items": 3,
            'app.metadata_lookup{source="wav_header"}': 3,
            "runtime.task_attempt_duration_seconds": 3,
            **DOWNLOADS,
        },
        "features.build": {
            'app.feature_pass{feature="level"}': 3,
            'app.feature_pass{feature="spectrum"}': 3,
            'app.feature_pass{feature="zero_crossings"}': 3,
            "app.frame_level": frames,
            "app.input_files": 3,
            "runtime.task_attempt_duration_seconds": 3,
            **DOWNLOADS,
            'runtime.workspace_io_bytes{operation="upload"}': 3,
            'runtime.workspace_io_duration_seconds{operation="upload"}': 3,
            'runtime.workspace_io_duration_seconds{operation="publish"}': 3,
        },
        "audio.transcribe": {
            'app.audio_chunks{format="wav",stage="decode"}': 3,
            'app.model_call{provider="goertzel"}': notes,
            "runtime.task_attempt_duration_seconds": 3,
            **DOWNLOADS,
        },
    }
    gauges = {"audio.transcribe": {"app.notes_per_second": None}}
    for block, (task_name, expected) in zip(blocks[4:7], counts.items(), strict=True):
        heading, *lines = block.splitlines()
        assert heading == f"metrics of {task_name}"
        histograms = {line.split()[0]: line.split() for line in lines if " count " in line}
        assert {name: int(words[2]) for name, words in histograms.items()} == expected
        last_values = {line.split()[0] for line in lines if " gauge " in line}
        assert last_values == {"runtime.busy_slots", *gauges.get(task_name, {})}
        assert any(re.match(r" +runtime\.busy_slots +gauge 0$", line) for line in lines)
    checked = next(line for line in blocks[4].splitlines() if "app.checked_items" in line)
    assert checked.split()[:7] == ["app.checked_items", "count", "3", "mean", "4", "sum", "12"]
    chunks = next(line for line in blocks[6].splitlines() if "app.audio_chunks" in line)
    assert chunks.split()[6] == str(notes)
    assert re.match(
        r"done in \d+\.\d s: 3 workflows, 9 tasks, 6 commits, 25 metrics in \d+ series; ", blocks[7]
    )


def test_settings_of_the_user_change_nothing(tmp_path: Path) -> None:
    demo = Demo(
        tmp_path,
        "--songs",
        "1",
        CONDUCTOR_SERVER_URL="http://127.0.0.1:1/api",
        CONDUCTOR_WORKER_ALL_DOMAIN="elsewhere",
        CONDUCTOR_AUTH_KEY="only-half",
        HTTP_PROXY="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_METRICS_TIMEOUT="10s",
        PERAGO_LOG="stdout",
        LAKECTL_SERVER_ENDPOINT_URL="http://127.0.0.1:1",
        PERAGO_WORKSPACE_CACHE="nonsense",
    )
    (demo.elsewhere / ".env").write_text("PERAGO_EXECUTION_MODE=nonsense\n")
    done = demo.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "♪ Ode to Joy" in done.stdout
    assert "1 workflow, 3 tasks, 2 commits, 25 metrics" in done.stdout
    assert [path.name for path in demo.elsewhere.iterdir()] == [".env"]


def test_what_is_shown_is_what_the_store_holds(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--songs", str(MANY_SONGS))
    with demo.started() as process:
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            if found := re.search(r"http://\S+", line):
                address = found[0]
            if line.startswith("♪"):
                break
        lines = []
        while line := process.stdout.readline().rstrip("\n"):
            lines.append(line)
        # Most of the songs are still to come, so the store is still there.
        lake = Lake("embedded", address, KEY, KEY, existing="songs")
        history = lake.here("GET", "/refs/song-1/commits", first_parent="true").json["results"]
        first, *stored = reversed(history)
        assert first["message"] == "Repository created"
        before = first["id"]
        expected = []
        for commit in stored:
            rows = lake.here("GET", f"/refs/{before}/diff/{commit['id']}", type="two_dot").json["results"]
            changes = [(SIGNS[row["type"]], row["path"], shown_size(row["size_bytes"])) for row in rows]
            author = commit["metadata"].get("perago.task_name", commit["committer"])
            expected.append(Commit(commit["id"][:12], author, commit["message"], changes))
            before = commit["id"]
        assert commits(lines[3:]) == expected
        features = Features.model_validate_json(lake.get("song-1", FEATURES).body)
        assert f"frames {features.frames}  " in lines[1]
        assert len(features.levels) == features.frames
        metadata = stored[-1]["metadata"]
        assert metadata["perago.reference_task_name"] == "features"
        assert metadata["perago.input_ref"] == stored[0]["id"]
        assert metadata["perago.workflow_instance_id"] in stored[-1]["message"]
        # Nothing is left of staging where a task has ended.
        ended = stored[-1]["metadata"]["perago.workflow_instance_id"]

        def staging() -> list[str]:
            branches = lake.here("GET", "/branches", prefix="perago-staging").json["results"]
            return [branch["id"] for branch in branches if ended in branch["id"]]

        until(lambda: not staging(), "the end of the staging branch")
        # `communicate` would miss what the stream has read ahead.
        output = process.stdout.read()
        assert process.wait(60) == 0
    assert f"{MANY_SONGS} workflows, {3 * MANY_SONGS} tasks, {2 * MANY_SONGS} commits, " in output


def test_a_song_that_disappears_fails_the_demo(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--songs", str(MANY_SONGS))
    with demo.started() as process:
        wait_until_ready(process)
        (kept,) = demo.temporary.iterdir()
        path = kept / "songs" / f"song-{MANY_SONGS}.wav"
        path.unlink()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    title = song(MANY_SONGS - 1).title
    reason, kept_hint = errors.splitlines()
    assert reason == f"error: {title}: {path} cannot be read: No such file or directory (os error 2)"
    assert kept_hint == f"  hint: files and logs are kept in {kept}"
    assert title not in output
    demo.assert_gone()


def test_a_broken_song_fails_the_demo(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--songs", str(MANY_SONGS))
    with demo.started() as process:
        wait_until_ready(process)
        (kept,) = demo.temporary.iterdir()
        (kept / "songs" / f"song-{MANY_SONGS}.wav").write_bytes(b"not a recording at all")
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    reason, hint, kept_hint = errors.splitlines()
    title = song(MANY_SONGS - 1).title
    said = "recording.wav is not a WAV file: file does not start with RIFF id"
    assert reason == f"error: {title}: metadata.validate failed: {said}"
    log = Path(hint.removeprefix("  hint: read "))
    assert said in log.read_text(encoding="utf-8")
    assert kept_hint == f"  hint: files and logs are kept in {kept}"
    assert title not in output
    assert kept.is_dir()
    demo.assert_gone()


def test_a_worker_that_is_killed_fails_the_demo(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--songs", str(MANY_SONGS))
    with demo.started() as process:
        wait_until_ready(process)
        os.kill(demo.child(process, "perago.demo.features_build"), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("error: the worker of features.build was ended by signal 9\n  hint: read ")
    # The killed worker's own guardian ends what that worker has started.
    demo.assert_gone(GONE_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_at_once(tmp_path: Path, number: signal.Signals) -> None:
    demo = Demo(tmp_path, "--songs", str(MANY_SONGS))
    with demo.started() as process:
        wait_until_ready(process)
        began = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < GONE_SECONDS
    assert (process.returncode, errors) == (4, "warning: stopped before every song was done\n")
    demo.assert_gone()
    assert list(demo.temporary.iterdir()) == []


def test_workers_do_not_outlive_a_killed_demo(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--songs", str(MANY_SONGS))
    with demo.started() as process:
        wait_until_ready(process)
        process.kill()
        process.communicate(timeout=60)
    demo.assert_gone(WORKERS_GONE_SECONDS)


def test_no_place_for_temporary_files(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demo.environment["TMPDIR"] = str(tmp_path / "nowhere")
    done = demo.run()
    assert done.returncode == 1
    assert done.stderr.startswith("error: no temporary folder can be made: ")
    assert "hint: set TMPDIR" in done.stderr


@pytest.mark.parametrize("arguments", [["--songs", "0"], ["--songs", "61"], ["extra"]])
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert Demo(tmp_path, *arguments).run().returncode == 2


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal(tmp_path: Path, no_color: str) -> None:
    demo = Demo(tmp_path, "--songs", "1", NO_COLOR=no_color, TERM="xterm-256color")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        demo.arguments, cwd=demo.elsewhere, env=demo.environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    # Reading fails with EIO once the last process has closed the terminal.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 65_536):
            shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    colours = re.findall(r"\x1b\[[0-9;]*m", text)
    assert bool(colours) == (no_color == ""), colours
    assert "/3 tasks" in text
    assert re.search(r"↓ \d\S* [KM]?i?B  ↑ \d\S* [KM]?i?B", text), "what the workspaces have moved"
    assert "done in" in text
