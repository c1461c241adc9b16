"""Scripted faults of the embedded services, over their control path."""

from __future__ import annotations

import json
from typing import Any

from perago._kit.conductor import HttpRefusedError
from perago._kit.http import send
from perago._kit.waiting import PATIENCE_SECONDS, until


class ScriptedFault:
    """A fault that was scripted. As a context manager it ends with its block."""

    def __init__(self, url: str, identity: int, what: str) -> None:
        self._url = url
        self._identity = identity
        self._what = what
        self._counts = {"seen": 0, "hits": 0}

    def __enter__(self) -> ScriptedFault:
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()

    @property
    def hits(self) -> int:
        """How often the fault was done."""
        return self._read()["hits"]

    @property
    def seen(self) -> int:
        """How often its call came, with and without the fault."""
        return self._read()["seen"]

    def wait(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the fault was done at least once.

        Raises:
            AssertionError: It was not done in time.

        """
        until(lambda: self.hits, f"the fault {self._what}", seconds)

    def lift(self) -> None:
        """End the fault: later calls pass. Its counts stay."""
        answer = send("DELETE", f"{self._url}/{self._identity}")
        if answer.status == 200:
            self._counts = answer.json

    def _read(self) -> dict[str, int]:
        # A rule that was lifted or cleared is not shown any more.
        for rule in control(self._url)["rules"]:
            if rule["id"] == self._identity:
                self._counts = rule
        return self._counts


class Faults:
    """What goes wrong between clients and the embedded services.

    Every method scripts one fault at the calls of a name: `update_task`, `lakefs.merge`, all of a service by
    `conductor.*`, `lakefs.*`, `object_store.*` or `otlp.*`, or `*`. It stands until it is lifted, unless one
    of these is given, counted from 1 and from now: `nth` for one call alone, `first` for so many, `every` for
    each n-th. `path` restricts it to calls whose path and query contain a text. Of several faults at one call
    the oldest acts.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def drop_request(self, call: str, **which: Any) -> ScriptedFault:
        """Close the connection; the service does not hear of the request."""
        return self._script(call, {"kind": "drop_request"}, **which)

    def drop_reply(self, call: str, **which: Any) -> ScriptedFault:
        """Close the connection when the service has done what it was asked."""
        return self._script(call, {"kind": "drop_reply"}, **which)

    def reset(self, call: str, **which: Any) -> ScriptedFault:
        """Reset the connection; the service does not hear of the request."""
        return self._script(call, {"kind": "reset"}, **which)

    def delay(self, call: str, seconds: float, **which: Any) -> ScriptedFault:
        """Let the service hear of the request later."""
        return self._script(call, {"kind": "delay", "milliseconds": _milliseconds(seconds)}, **which)

    def delay_reply(self, call: str, seconds: float, **which: Any) -> ScriptedFault:
        """Let the service do what it was asked at once, and the reply leave later."""
        return self._script(call, {"kind": "delay_reply", "milliseconds": _milliseconds(seconds)}, **which)

    def status(self, call: str, code: int, body: str = "", **which: Any) -> ScriptedFault:
        """Answer in place of the service, which does not hear of the request."""
        return self._script(call, {"kind": "status", "code": code, "body": body}, **which)

    def truncate(self, call: str, bytes: int, **which: Any) -> ScriptedFault:
        """Let so many bytes of the reply's body leave, then close the connection."""
        return self._script(call, {"kind": "truncate", "bytes": bytes}, **which)

    def calls(self, name: str = "*") -> int:
        """Return how many requests of a call, or of a service (`lakefs.*`), have come so far.

        Raises:
            ValueError: No service has such a call.

        """
        counted: dict[str, int] = control(self._url)["calls"]
        service, _, call = name.rpartition(".")
        found = [
            count
            for full, count in counted.items()
            if service in ("", full.partition(".")[0]) and call in ("*", full.partition(".")[2])
        ]
        if not found:
            raise ValueError(f"no embedded service has a call {name!r}")
        return sum(found)

    def names(self) -> list[str]:
        """Return the full names of all calls."""
        return list(control(self._url)["calls"])

    def clear(self) -> None:
        """Forget all faults."""
        control(self._url, "DELETE")

    def _script(
        self,
        call: str,
        fault: dict[str, Any],
        *,
        nth: int | None = None,
        first: int | None = None,
        every: int | None = None,
        path: str = "",
    ) -> ScriptedFault:
        when = {"nth": nth, "first": first, "every": every}
        given = {name: number for name, number in when.items() if number is not None}
        if len(given) > 1:
            raise ValueError("give one of nth, first and every")
        rule = {"call": call, "fault": fault, "when": given or "always", "path": path}
        try:
            identity = control(self._url, "POST", rule)["id"]
        except HttpRefusedError as refused:
            raise ValueError(json.loads(refused.text)["message"]) from None
        return ScriptedFault(self._url, identity, f"{fault['kind']} at {call}")


def control(url: str, method: str = "GET", body: Any = None) -> Any:
    """Speak to the control path; return the JSON of its answer.

    Raises:
        HttpRefusedError: The services refuse it.

    """
    data = None if body is None else json.dumps(body).encode()
    answer = send(method, url, data, {"Content-Type": "application/json"})
    if not 200 <= answer.status < 300:
        raise HttpRefusedError(method, url, answer.status, answer.body.decode())
    return answer.json if answer.body else None


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
