"""What an embedded store has acknowledged survives the death of its process."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.fixtures import ANNOUNCEMENT, embedded_server
from support.lake import KEY, Lake, send


class Mortal:
    """A server over a folder that is killed, not stopped."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = embedded_server("--data-dir", str(folder), *arguments).command
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(ANNOUNCEMENT), line
        self.url = line.removeprefix(ANNOUNCEMENT).strip()

    def kill(self) -> None:
        """SIGKILL: no handler runs; once is enough."""
        if self.process.poll() is not None:
            return
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def reach(self, lake: Lake) -> Lake:
        """The same repository on this server."""
        lake.base = f"{self.url}/api/v1"
        return lake


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Mortal]]:
    """Starts servers over one folder; none of them outlives its test."""
    started: list[Mortal] = []

    def start(*arguments: str) -> Mortal:
        started.append(Mortal(tmp_path, *arguments))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.mark.parametrize("kind", ["s3", "local"])
def test_repositories_survive_a_kill(start: Callable[..., Mortal], kind: str) -> None:
    server = start("--object-store", kind)
    lake = Lake("embedded", server.url, KEY, KEY)
    lake.put("main", "a", "base", x_lakefs_meta_k="v")
    first = lake.commit("main", metadata={"stamp": "1"}).json
    lake.branch("work")
    lake.put("work", "b", "b" * 300_000)
    lake.commit("work")
    merged = lake.merge("work").json["reference"]
    lake.put("main", "staged", "s")
    lake.here("DELETE", "/branches/main/objects", path="a")
    lake.here("POST", "/tags", {"id": "v1", "ref": first["id"]})
    lake.here("PUT", "/settings/branch_protection", [{"pattern": "rel-*"}])
    tree, staged = lake.tree(), lake.staged()
    server.kill()

    server = start("--object-store", kind)
    lake = server.reach(lake)
    assert (lake.tree(), lake.staged(), lake.head()) == (tree, staged, merged)
    assert lake.get("main", "b").body == b"b" * 300_000
    assert lake.get("main@", "a").body == b"base"
    assert lake.here("GET", f"/commits/{first['id']}").json == first
    assert lake.here("GET", "/tags/v1").json["commit_id"] == first["id"]
    assert lake.here("GET", "/settings/branch_protection").json == [{"pattern": "rel-*"}]
    assert lake.commit("main").status == 201


def test_a_signed_upload_goes_on_after_a_kill(start: Callable[..., Mortal]) -> None:
    server = start()
    lake = Lake("embedded", server.url, KEY, KEY)
    backing = lake.here("GET", "/branches/main/staging/backing", path="p", presign="true").json
    assert send("PUT", backing["presigned_url"], b"hello").status == 200
    parts = lake.here("POST", "/branches/main/staging/pmpu", path="q", parts=1).json
    etag = send("PUT", parts["presigned_urls"][0], b"part").headers["etag"]
    server.kill()

    server = start()
    lake = server.reach(lake)
    link = {"staging": {"physical_address": backing["physical_address"]}, "checksum": "x", "size_bytes": 5}
    assert lake.here("PUT", "/branches/main/staging/backing", link, path="p").status == 200
    assert lake.get("main", "p").body == b"hello"
    body = {"physical_address": parts["physical_address"], "parts": [{"part_number": 1, "etag": etag}]}
    done = lake.here("PUT", f"/branches/main/staging/pmpu/{parts['upload_id']}", body, path="q")
    assert done.status == 200
    assert lake.get("main", "q").body == b"part"


def test_a_kill_amid_writes_keeps_what_was_answered(start: Callable[..., Mortal]) -> None:
    server = start()
    lake = Lake("embedded", server.url, KEY, KEY)
    answered: list[str] = []
    enough = threading.Event()

    def write() -> None:
        for number in range(100_000):
            try:
                assert lake.put("main", f"{number:06}", f"<{number}>").status == 201
            except (OSError, http.client.HTTPException):
                return
            answered.append(f"{number:06}")
            if number == 60:
                enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(60)
    server.kill()
    writer.join()

    server = start()
    lake = server.reach(lake)
    for path in answered:
        assert lake.get("main", path).body == f"<{int(path)}>".encode()


def test_a_folder_has_one_server(start: Callable[..., Mortal], tmp_path: Path) -> None:
    start()
    command = embedded_server("--data-dir", str(tmp_path)).command
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode != 0
    assert str(tmp_path) in second.stderr
