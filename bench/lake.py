"""Repositories for benchmarks: where they are, how they are filled, and what an attempt has left in them."""

from __future__ import annotations

import http.client
import os
import random
import subprocess
import threading
import urllib.parse
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import environment, perago_command

from support.lake import KEY, Lake

UPLOADS_AT_ONCE = 8
BLOCK_BYTES = 1024 * 1024
BRANCH = "main"


@dataclass(frozen=True)
class Services:
    """The embedded engine, and the store that is measured: the embedded one or a real lakeFS."""

    base: str
    store: str
    access_key_id: str
    secret_access_key: str
    kind: str
    process_id: int = 0

    @property
    def conductor_url(self) -> str:
        """Conductor's API base."""
        return f"{self.base}/api"

    def variables(self) -> dict[str, str]:
        """Return the variables with which lakeFS clients find the store."""
        return {
            "LAKECTL_SERVER_ENDPOINT_URL": self.store,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": self.access_key_id,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": self.secret_access_key,
        }


@contextmanager
def services(folder: Path, is_real: bool, in_memory: bool) -> Iterator[Services]:
    """Start the embedded services; the store is the real lakeFS of the `LAKECTL_*` variables if `is_real`."""
    data = [] if in_memory else ["--data-dir", str(folder / "store")]
    process = subprocess.Popen(
        [*perago_command(), "dev", "--listen", "127.0.0.1:0", *data],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(folder),
    )
    assert process.stdout is not None
    base = process.stdout.readline().split()[-1]
    try:
        if is_real:
            names = ("SERVER_ENDPOINT_URL", "CREDENTIALS_ACCESS_KEY_ID", "CREDENTIALS_SECRET_ACCESS_KEY")
            yield Services(
                base, *(os.environ[f"LAKECTL_{name}"] for name in names), "real lakeFS", process.pid
            )
        else:
            yield Services(base, base, KEY, KEY, "embedded store", process.pid)
    finally:
        process.terminate()
        process.wait(10)


class Repository:
    """A repository of a benchmark's own."""

    def __init__(self, services: Services) -> None:
        namespace = os.environ.get("PERAGO_TEST_LAKEFS_NAMESPACE", "")
        kind = "real" if services.kind.startswith("real") else "embedded"
        self._lake = Lake(
            kind,
            services.store,
            services.access_key_id,
            services.secret_access_key,
            namespace if kind == "real" else "",
        )
        self.name = self._lake.name
        self._threads = threading.local()

    def fill(self, files: range, size: int) -> str:
        """Upload one file of `size` random bytes for each number, and commit; return the commit."""
        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
            for _ in pool.map(lambda number: self._upload(number, size), files, chunksize=64):
                pass
        return str(self._lake.commit(BRANCH).json["id"])

    def _upload(self, number: int, size: int) -> None:
        path = f"in/{number // 1000:03}/{number:06}"
        target = urllib.parse.urlsplit(self._lake.base)
        route = f"{target.path}/repositories/{self.name}/branches/{BRANCH}/objects?path={path}"
        connection = getattr(self._threads, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=300)
            self._threads.connection = connection
        headers = {
            **self._lake.headers,
            "content-type": "application/octet-stream",
            "content-length": str(size),
        }
        connection.request("POST", route, _content(number, size), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 201, text

    def branch(self, commit: str) -> str:
        """Make a branch at a commit; return its name."""
        name = f"run-{uuid.uuid4().hex[:12]}"
        assert self._lake.branch(name, commit).status == 201
        return name

    def added_bytes(self, reference: str) -> int | None:
        """Return the size of the file that the body adds, if it is there."""
        found = self._lake.here("GET", f"/refs/{reference}/objects/stat", path="in/added")
        return int(found.json["size_bytes"]) if found.status == 200 else None

    def workspace(self, branch: str, commit: str) -> dict[str, Any]:
        """Return the workspace part of a task's input."""
        return {"repository": self.name, "branch": branch, "refType": "commit", "ref": commit}


def _content(number: int, size: int) -> Iterator[bytes]:
    source = random.Random(number)
    while size:
        block = source.randbytes(min(size, BLOCK_BYTES))
        size -= len(block)
        yield block


def wants_real_lakefs() -> bool:
    """Whether a real lakeFS is to be measured as well: the same switch as in the protocol suite."""
    return os.environ.get("PERAGO_TEST_LAKEFS") == "1"
