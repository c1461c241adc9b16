"""What an embedded store has acknowledged survives the death of its process."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from services.fixtures import ANNOUNCEMENT, embedded_server

from .lake import KEY, Lake, send


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
        """SIGKILL: no handler runs."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def reach(self, lake: Lake) -> Lake:
        """The same repository on this server."""
        lake.base = f"{self.url}/api/v1"
        return lake


@pytest.mark.parametrize("kind", ["s3", "local"])
def test_repositories_survive_a_kill(tmp_path: Path, kind: str) -> None:
    server = Mortal(tmp_path, "--object-store", kind)
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

    server = Mortal(tmp_path, "--object-store", kind)
    lake = server.reach(lake)
    assert (lake.tree(), lake.staged(), lake.head()) == (tree, staged, merged)
    assert lake.get("main", "b").body == b"b" * 300_000
    assert lake.get("main@", "a").body == b"base"
    assert lake.here("GET", f"/commits/{first['id']}").json == first
    assert lake.here("GET", "/tags/v1").json["commit_id"] == first["id"]
    assert lake.here("GET", "/settings/branch_protection").json == [{"pattern": "rel-*"}]
    assert lake.commit("main").status == 201
    server.kill()


def test_a_signed_upload_goes_on_after_a_kill(tmp_path: Path) -> None:
    server = Mortal(tmp_path)
    lake = Lake("embedded", server.url, KEY, KEY)
    backing = lake.here("GET", "/branches/main/staging/backing", path="p", presign="true").json
    assert send("PUT", backing["presigned_url"], b"hello").status == 200
    start = lake.here("POST", "/branches/main/staging/pmpu", path="q", parts=1).json
    etag = send("PUT", start["presigned_urls"][0], b"part").headers["etag"]
    server.kill()

    server = Mortal(tmp_path)
    lake = server.reach(lake)
    link = {"staging": {"physical_address": backing["physical_address"]}, "checksum": "x", "size_bytes": 5}
    assert lake.here("PUT", "/branches/main/staging/backing", link, path="p").status == 200
    assert lake.get("main", "p").body == b"hello"
    body = {"physical_address": start["physical_address"], "parts": [{"part_number": 1, "etag": etag}]}
    done = lake.here("PUT", f"/branches/main/staging/pmpu/{start['upload_id']}", body, path="q")
    assert done.status == 200
    assert lake.get("main", "q").body == b"part"
    server.kill()


def test_a_kill_amid_writes_keeps_what_was_answered(tmp_path: Path) -> None:
    server = Mortal(tmp_path)
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

    server = Mortal(tmp_path)
    lake = server.reach(lake)
    for path in answered:
        assert lake.get("main", path).body == f"<{int(path)}>".encode()
    server.kill()


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    server = Mortal(tmp_path)
    command = embedded_server("--data-dir", str(tmp_path)).command
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    server.kill()
    assert second.returncode != 0
    assert str(tmp_path) in second.stderr
