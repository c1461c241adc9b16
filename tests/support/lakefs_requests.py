"""What requests to lakeFS and its object store do, told by method and path."""

from __future__ import annotations

import re

from .proxy import Exchange

_OBJECT_STORE = "/object-store/"
_READ = re.compile(r"/refs/[^/]+/objects(\?|$)")
_WRITE = re.compile(r"/branches/[^/]+/(objects|staging/(backing|pmpu.*))(\?|$)")
_BRANCH = re.compile(r"/branches(\?|$)|/branches/[^/]+/(commits|revert)(\?|$)|/refs/[^/]+/merge/")


def reads_object(exchange: Exchange) -> bool:
    """Whether it reads the bytes of an object, through lakeFS or by a signed URL."""
    return exchange.method == "GET" and (
        exchange.path.startswith(_OBJECT_STORE) or bool(_READ.search(exchange.path))
    )


def writes_object(exchange: Exchange) -> bool:
    """Whether it belongs to an upload."""
    is_direct = exchange.method == "PUT" and exchange.path.startswith(_OBJECT_STORE)
    return is_direct or (exchange.method in ("POST", "PUT") and bool(_WRITE.search(exchange.path)))


def changes_branch(exchange: Exchange) -> bool:
    """Whether it makes a branch, commits, merges or reverts."""
    return exchange.method == "POST" and bool(_BRANCH.search(exchange.path))
