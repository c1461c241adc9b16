"""A repository of the embedded store, for tests of workspace tasks."""

from __future__ import annotations

import base64
import json
import urllib.parse
import uuid
from typing import Any

from perago._kit.conductor import HttpRefusedError
from perago._kit.http import send

KEY = "perago-dev"


class EmbeddedRepository:
    """A repository of a test's own, whose branch `main` begins with one commit of some files.

    Args:
        url: Base URL of the services.
        files: Contents by path.

    """

    def __init__(self, url: str, files: dict[str, str | bytes]) -> None:
        self._base = f"{url}/api/v1/repositories"
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        body = {"name": self.name, "storage_namespace": f"s3://bucket/{self.name}"}
        self._send("POST", self._base, json.dumps(body).encode())
        self.input = self.commit(files, "base")

    def workspace(self, branch: str = "main") -> dict[str, str]:
        """Return the `workspace` of a task's input: the first commit, to be published to a branch."""
        return {"repository": self.name, "branch": branch, "refType": "commit", "ref": self.input}

    def commit(self, files: dict[str, str | bytes], message: str = "a commit of the test") -> str:
        """Commit files to `main`, as any other writer; return the commit's id."""
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            query = urllib.parse.urlencode({"path": path})
            url = self._at(f"/branches/main/objects?{query}")
            self._send("POST", url, data, {"Content-Type": "application/octet-stream"})
        body = json.dumps({"message": message, "allow_empty": True}).encode()
        return str(json.loads(self._send("POST", self._at("/branches/main/commits"), body))["id"])

    def files(self, reference: str = "main@") -> dict[str, bytes]:
        """Return all committed files of a branch or commit by path."""
        found = {}
        for row in self._rows(f"/refs/{reference}/objects/ls"):
            query = urllib.parse.urlencode({"path": row["path"]})
            found[row["path"]] = self._send("GET", self._at(f"/refs/{reference}/objects?{query}"))
        return found

    def commits(self) -> list[dict[str, Any]]:
        """Return the commits of `main` that came after the first, newest first, along first parents."""
        found: list[dict[str, Any]] = []
        for row in self._rows("/refs/main/commits?first_parent=true"):
            if row["id"] == self.input:
                break
            found.append(row)
        return found

    def branches(self) -> list[str]:
        """Return the names of all branches; those of unfinished publications begin with `perago-staging`."""
        return [row["id"] for row in self._rows("/branches")]

    def _rows(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        after = ""
        separator = "&" if "?" in path else "?"
        while True:
            query = urllib.parse.urlencode({"amount": 1000, "after": after})
            page = json.loads(self._send("GET", self._at(f"{path}{separator}{query}")))
            rows += page["results"]
            if not page["pagination"]["has_more"]:
                return rows
            after = page["pagination"]["next_offset"]

    def _at(self, path: str) -> str:
        return f"{self._base}/{self.name}{path}"

    def _send(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        pair = base64.b64encode(f"{KEY}:{KEY}".encode()).decode()
        given = {"Authorization": f"Basic {pair}", "Content-Type": "application/json", **(headers or {})}
        answer = send(method, url, body, given)
        if not 200 <= answer.status < 300:
            raise HttpRefusedError(method, url, answer.status, answer.body.decode(errors="replace"))
        return answer.body
