"""What goes wrong between a worker and lakeFS, and at which call."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from .proxy import Answer, Drop, Exchange, Proxy

Action = Callable[[Exchange], "Answer | None"]


@dataclass(frozen=True)
class Call:
    """A kind of call, by method and path below the server."""

    name: str
    method: str
    path: str

    def matches(self, exchange: Exchange) -> bool:
        """Whether an exchange is one of these calls."""
        return re.fullmatch(self.method, exchange.method) is not None and bool(
            re.search(self.path, exchange.path)
        )


LIST = Call("list objects", "GET", r"/objects/ls\?")
READ = Call("read an object", "GET", r"/refs/[^/]+/objects\?|^/object-store/")
OLDER = Call("look for older attempts", "GET", r"/branches\?")
HISTORY = Call("read the history", "GET", r"/refs/[^/]+/commits")
BRANCH = Call("make the staging branch", "POST", r"/branches$")
UPLOAD = Call("upload an object", "POST|PUT", r"/branches/perago-staging[^/]*/objects\?|^/object-store/")
DELETE = Call("delete objects", "POST", r"/objects/delete")
COMMIT = Call("commit", "POST", r"/branches/[^/]+/commits")
MERGE = Call("merge", "POST", r"/merge/main")
READ_MERGE = Call("read the merge commit", "GET", r"/commits/[0-9a-f]{64}")
DIRECT_UPLOAD = Call("upload to the object store", "PUT", r"^/object-store/")
SERVER_UPLOAD = Call("upload through lakeFS", "POST", r"/branches/perago-staging[^/]*/objects\?")
REVERT = Call("revert", "POST", r"/branches/main/revert")
CLEAN = Call("delete the staging branch", "DELETE", r"/branches/perago-staging")

# The calls of one publication, in their order.
ALL = (LIST, READ, OLDER, HISTORY, BRANCH, UPLOAD, DELETE, COMMIT, MERGE, READ_MERGE, CLEAN)


class Script:
    """Does things at calls that pass a proxy; every other call passes untouched.

    `before` acts in the place of the server or before it, `after` once the server has answered. Each step is
    taken `times` times, at the first calls of its kind; `taken` counts.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._lock = threading.Lock()
        self._steps: dict[str, list[_Step]] = {"before": [], "after": []}
        proxy.before = lambda exchange: self._act("before", exchange)
        proxy.after = lambda exchange: self._act("after", exchange)

    def before(self, call: Call, action: Action, times: float = 1) -> None:
        """Act before the server sees a call."""
        self._steps["before"].append(_Step(call, action, times))

    def after(self, call: Call, action: Action, times: float = 1) -> None:
        """Act when the server has answered a call."""
        self._steps["after"].append(_Step(call, action, times))

    def clear(self) -> None:
        """Forget everything, let all pass again."""
        with self._lock:
            self._steps = {"before": [], "after": []}
        self.proxy.restore()
        self.proxy.exchanges.clear()

    def taken(self, call: Call) -> int:
        """How often something was done at a call."""
        steps = self._steps["before"] + self._steps["after"]
        return sum(step.taken for step in steps if step.call == call)

    def seen(self, call: Call) -> list[Exchange]:
        """The calls of a kind that were passed on."""
        return [exchange for exchange in list(self.proxy.exchanges) if call.matches(exchange)]

    def _act(self, moment: str, exchange: Exchange) -> Answer | None:
        for step in list(self._steps[moment]):
            if step.call.matches(exchange):
                with self._lock:
                    if step.taken >= step.times:
                        continue
                    step.taken += 1
                return step.action(exchange)
        return None


@dataclass
class _Step:
    call: Call
    action: Action
    times: float
    taken: int = 0


def drop(_: Exchange) -> Answer | None:
    """Close the connection: before, the request is lost; after, the reply."""
    raise Drop


def storm(_: Exchange) -> Answer | None:
    """Refuse as an overloaded server does."""
    return Answer(503, b'{"message":"Throughput exceeded. Slow down and retry"}')


def truncated(exchange: Exchange) -> Answer | None:
    """Send half of the body and close."""
    return replace(_answer(exchange), sent=len(exchange.answer) // 2)


def stalled(until: threading.Event) -> Action:
    """Send half of the body, then nothing until an event."""
    return lambda exchange: replace(_answer(exchange), sent=len(exchange.answer) // 2, silence=until)


def damaged(pattern: int) -> Action:
    """Send other bytes of the same length."""
    return lambda exchange: replace(_answer(exchange), body=bytes(byte ^ pattern for byte in exchange.answer))


def altered(proxy: Proxy) -> Action:
    """Pass a request on with other bytes of the same length."""

    def pass_altered(exchange: Exchange) -> Answer | None:
        other = replace(exchange, body=bytes(byte ^ 1 for byte in exchange.body))
        return _answer(proxy.forward(other))

    return pass_altered


def _answer(exchange: Exchange) -> Answer:
    return Answer(exchange.status, exchange.answer, exchange.answer_headers)
