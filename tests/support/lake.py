"""A plain lakeFS client for tests: status codes and bodies as they are."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any

from .http import HttpAnswer, send

KEY = "perago-dev"


class Lake:
    """One server and a repository of the test's own, or an `existing` one; `kind` is `embedded` or `real`.

    Its objects lie below `namespace`, or where the server's kind of object store lets them.
    """

    def __init__(
        self,
        kind: str,
        url: str,
        access_key_id: str,
        secret_access_key: str,
        namespace: str = "",
        existing: str = "",
    ) -> None:
        self.kind = kind
        self.base = url.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        pair = f"{access_key_id}:{secret_access_key}".encode()
        self.headers = {"authorization": "Basic " + base64.b64encode(pair).decode()}
        self.storage = self.call("GET", "/config/storage").json
        self.signs = bool(self.storage["pre_sign_support"])
        self.name = existing or f"protocol-{uuid.uuid4().hex[:12]}"
        if existing:
            return
        default = self.storage["default_namespace_prefix"] or f"{self.storage['blockstore_type']}://bucket"
        prefix = namespace or default
        slash = "" if prefix.endswith("/") else "/"
        body = {"name": self.name, "storage_namespace": f"{prefix}{slash}{self.name}"}
        assert self.call("POST", "/repositories", body).status == 201

    def call(
        self,
        method: str,
        route: str,
        body: Any = None,
        /,
        *,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> HttpAnswer:
        """Send a request below the API; `body` is sent as JSON unless it is bytes."""
        sent = {**self.headers, **(headers or {})}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None and not isinstance(body, bytes):
            sent["content-type"] = "application/json"
        return send(method, f"{self.base}{route}?{urllib.parse.urlencode(query)}", data, sent)

    def here(self, method: str, route: str, body: Any = None, /, **options: Any) -> HttpAnswer:
        """Send a request below the repository."""
        return self.call(method, f"/repositories/{self.name}{route}", body, **options)

    def put(self, branch: str, path: str, content: str | bytes, **headers: str) -> HttpAnswer:
        """Upload an object."""
        data = content.encode() if isinstance(content, str) else content
        sent = {"content-type": "application/octet-stream", **_dashed(headers)}
        return self.here("POST", f"/branches/{branch}/objects", data, headers=sent, path=path)

    def get(self, reference: str, path: str, **headers: str) -> HttpAnswer:
        """Read an object."""
        return self.here("GET", f"/refs/{reference}/objects", headers=_dashed(headers), path=path)

    def commit(self, branch: str, message: str = "m", **fields: Any) -> HttpAnswer:
        """Commit what is staged."""
        return self.here("POST", f"/branches/{branch}/commits", {"message": message, **fields})

    def branch(self, name: str, source: str = "main") -> HttpAnswer:
        """Create a branch."""
        return self.here("POST", "/branches", {"name": name, "source": source})

    def head(self, branch: str = "main") -> str:
        """The commit that a branch points at."""
        return str(self.here("GET", f"/branches/{branch}").json["commit_id"])

    def merge(self, source: str, destination: str = "main", **fields: Any) -> HttpAnswer:
        """Merge a ref into a branch."""
        return self.here("POST", f"/refs/{source}/merge/{destination}", fields)

    def tree(self, reference: str = "main") -> dict[str, str]:
        """The checksums of all objects by path, over all pages of two."""
        found: dict[str, str] = {}
        after = ""
        while True:
            page = self.here("GET", f"/refs/{reference}/objects/ls", amount=2, after=after).json
            found.update({row["path"]: row["checksum"] for row in page["results"]})
            if not page["pagination"]["has_more"]:
                return found
            after = page["pagination"]["next_offset"]

    def diff(self, left: str, right: str, kind: str = "three_dot") -> dict[str, str]:
        """How paths differ between two refs."""
        rows = self.here("GET", f"/refs/{left}/diff/{right}", type=kind).json["results"]
        return {row["path"]: row["type"] for row in rows}

    def staged(self, branch: str = "main") -> dict[str, str]:
        """How paths differ between a branch and its head."""
        return {
            row["path"]: row["type"] for row in self.here("GET", f"/branches/{branch}/diff").json["results"]
        }


def at_once(count: int, action: Callable[[int], HttpAnswer]) -> list[int]:
    """Do something so many times at once; return the statuses in order."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return sorted(answer.status for answer in pool.map(action, range(count)))


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
