"""What an attempt in a workspace moves and holds, as counted by a proxy and by the system."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from services.fixtures import embedded_server
from support.conductor import Conductor
from support.lake import KEY, Lake
from support.lakefs_requests import changes_branch, reads_object, writes_object
from support.proxy import Proxy
from support.worker import Worker

from .conftest import new_task_name

FILES = 30
FILE_BYTES = 4096
LARGE_BYTES = 160 * 1024 * 1024
MOST_ABOVE_IDLE_KILOBYTES = 64 * 1024
ARENA_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module", params=["s3", "local"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Engine and store in one, with signed URLs and without; objects are in files, because they are large."""
    folder = tmp_path_factory.mktemp("store")
    with embedded_server("--object-store", request.param, "--data-dir", str(folder)) as url:
        yield url


class Rig:
    """A worker on an engine and, through a proxy, on a repository with some files."""

    def __init__(self, server: str, folder: Path, proxy: Proxy | None = None) -> None:
        self.conductor = Conductor(f"{server}/api", "embedded")
        self.lake = Lake("embedded", server, KEY, KEY)
        for number in range(FILES):
            content = number.to_bytes(2, "big") * (FILE_BYTES // 2)
            assert self.lake.put("main", f"in/{number}", content).status == 201
        self.commit = str(self.lake.commit("main").json["id"])
        task = new_task_name()
        self.conductor.define(task, has_workspace=True, retryCount=1)
        self.task = task
        self.worker = Worker(
            folder,
            self.conductor.url,
            task,
            module="filling",
            LAKECTL_SERVER_ENDPOINT_URL=proxy.url if proxy else server,
            LAKECTL_CREDENTIALS_ACCESS_KEY_ID=KEY,
            LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY=KEY,
        )

    def run(self, **params: object) -> list[dict[str, object]]:
        """Run the task on the head of `main`; return its attempts."""
        workspace = {
            "repository": self.lake.name,
            "branch": "main",
            "refType": "commit",
            "ref": self.lake.head(),
        }
        run = self.conductor.start(self.task, params, workspace)
        attempts: list[dict[str, object]] = self.conductor.wait(run)["tasks"]
        return attempts


def test_a_retry_on_the_same_host_reads_no_object(server: str, tmp_path: Path) -> None:
    with Proxy(server, keeps_host=True) as proxy:
        rig = Rig(server, tmp_path / "worker", proxy)
        with rig.worker:
            failed, retried = rig.run(added_bytes=5, fails_until=str(tmp_path / "failed-once"))
    assert (failed["status"], retried["status"]) == ("FAILED", "COMPLETED")
    assert retried["outputData"]["result"] == {"files": FILES}  # type: ignore[index]
    reads = [one for one in proxy.exchanges if reads_object(one)]
    assert len(reads) == FILES
    assert sum(len(one.answer) for one in reads) == FILES * FILE_BYTES
    assert rig.lake.get("main", "in/added").body == b"xxxxx"


def test_a_body_that_changes_nothing_writes_nothing(server: str, tmp_path: Path) -> None:
    with Proxy(server, keeps_host=True) as proxy:
        rig = Rig(server, tmp_path / "worker", proxy)
        with rig.worker:
            (unchanged,) = rig.run()
            assert unchanged["status"] == "COMPLETED"
            assert unchanged["outputData"]["workspace"]["ref"] == rig.commit  # type: ignore[index]
            assert proxy.exchanges
            assert not [one for one in proxy.exchanges if writes_object(one) or changes_branch(one)]
            assert {one.method for one in proxy.exchanges} == {"GET"}
            (changed,) = rig.run(added_bytes=5)
            assert changed["status"] == "COMPLETED"
    # The same count sees what is there to be seen.
    assert len([one for one in proxy.exchanges if writes_object(one)]) == 1
    assert len([one for one in proxy.exchanges if changes_branch(one)]) == 3
    assert rig.lake.head() == changed["outputData"]["workspace"]["ref"]  # type: ignore[index]


def test_memory_does_not_grow_with_the_size_of_files(server: str, tmp_path: Path) -> None:
    rig = Rig(server, tmp_path / "worker")
    with rig.worker:
        (first,) = rig.run(added_bytes=1)
        assert first["status"] == "COMPLETED"
        supervisor = rig.worker.process.pid
        idle = resident_kilobytes(supervisor, "VmRSS")
        # The most that is resident is counted from now on (proc_pid_clear_refs(5)).
        Path(f"/proc/{supervisor}/clear_refs").write_text("5")
        (up,) = rig.run(added_bytes=LARGE_BYTES)
        (down,) = rig.run(added_bytes=LARGE_BYTES - 1)
        peak = resident_kilobytes(supervisor, "VmHWM")
    assert (up["status"], down["status"]) == ("COMPLETED", "COMPLETED")
    assert peak - idle <= MOST_ABOVE_IDLE_KILOBYTES, f"{idle} kB idle, {peak} kB at most"


def resident_kilobytes(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(value)


def test_the_threads_that_move_files_share_an_arena(server: str, tmp_path: Path) -> None:
    rig = Rig(server, tmp_path / "worker")
    with rig.worker:
        for length in range(1, 4):
            (attempt,) = rig.run(added_bytes=length)
            assert attempt["status"] == "COMPLETED"
        assert len(further_arenas(rig.worker.process.pid)) <= 1


def further_arenas(pid: int) -> list[int]:
    """The arenas of a process beside the main one: glibc aligns and reserves 64 MiB for each."""
    places = []
    for used, left in pairwise(Path(f"/proc/{pid}/maps").read_text().splitlines()):
        begin, end = (int(bound, 16) for bound in used.split()[0].split("-"))
        reserved, rights = left.split()[:2]
        is_whole = reserved == f"{end:x}-{begin + ARENA_BYTES:x}"
        if begin % ARENA_BYTES == 0 and rights == "---p" and is_whole:
            places.append(begin)
    return places
