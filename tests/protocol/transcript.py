"""Replays recorded exchanges of a real lakeFS against another server and says where it answers otherwise.

The form of the records is described in ``tests/fixtures/lakefs/README.md``.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PLACEHOLDER = re.compile(r"\{([a-z_]+)((?::\d+)*)\}")
# What an unbound placeholder of a kind looks like; any text for kinds that are not named.
FORMS = {
    "commit": r"[0-9a-f]{64}",
    "meta_range": r"[0-9a-f]{64}",
    "time": r"-?\d+",
    "any": r"(?s:.*)",
    "http_time": r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT",
    "physical_address": r"[a-z0-9]+://[^,]+",
    "physical_key": r"data/[^,]+",
    "address_signature": r"[^,]+",
}
RAW_BODIES = ("text", "base64", "repeat", "chunks")


@dataclass
class Answer:
    """One answer as received."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Replay:
    """One scenario against one server: what its placeholders are bound to."""

    base: str
    access_key_id: str
    secret_access_key: str
    bound: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pair = f"{self.access_key_id}:{self.secret_access_key}"
        self.bound |= {
            "{basic_auth}": _basic(pair),
            "{basic_auth_wrong_secret}": _basic(f"{self.access_key_id}:wrong"),
            "{basic_auth_unknown_key}": _basic("unknown:wrong"),
            "{access_key_id}": self.access_key_id,
            "{secret_access_key}": self.secret_access_key,
        }

    def step(self, exchange: dict[str, Any], is_known: bool = False) -> list[str]:
        """Send one recorded request; return how its answer differs from the recorded one."""
        answer = self.send(exchange["request"])
        if is_known or "concurrent" in exchange:
            return []
        expected = exchange["response"]
        problems = []
        if answer.status != expected["status"]:
            problems.append(f"status {answer.status} instead of {expected['status']}: {answer.body[:300]!r}")
        for name, value in expected.get("headers", {}).items():
            if (found := answer.headers.get(name, "")) != value and not self.matches(value, found):
                problems.append(f"header {name} is {found!r} instead of {value!r}")
        problems += self.compare_body(expected.get("body"), answer.body)
        return [f"{exchange['step']}: {problem}" for problem in problems]

    def compare_body(self, expected: Any, body: bytes) -> list[str]:
        """Compare a received body with a recorded one."""
        if expected is None:
            return [f"a body: {body[:200]!r}"] if body else []
        if isinstance(expected, str):
            found = body.decode(errors="replace")
            return [] if self.matches(expected, found) else [f"the body is {found!r} instead of {expected!r}"]
        if isinstance(expected, dict) and set(expected) == {"base64"}:
            return [] if base64.b64decode(expected["base64"]) == body else [f"other bytes: {body[:200]!r}"]
        try:
            found_json = json.loads(body)
        except ValueError:
            return [f"no JSON: {body[:200]!r}"]
        return self.compare(expected, found_json, "")

    def compare(self, expected: Any, found: Any, place: str) -> list[str]:
        """Compare JSON values; bind what is not bound."""
        if isinstance(expected, dict) and isinstance(found, dict):
            keys = sorted(set(expected) | set(found))
            return [
                problem
                for key in keys
                for problem in (
                    self.compare(expected[key], found[key], f"{place}/{key}")
                    if key in expected and key in found
                    else [f"{place}/{key} is {'missing' if key in expected else 'too much'}"]
                )
            ]
        if isinstance(expected, list) and isinstance(found, list):
            if len(expected) != len(found):
                return [f"{place} has {len(found)} entries instead of {len(expected)}: {found!r}"]
            pairs = enumerate(zip(expected, found, strict=True))
            return [problem for index, (a, b) in pairs for problem in self.compare(a, b, f"{place}/{index}")]
        if isinstance(expected, str) and self.matches(expected, str(found)):
            return []
        return [] if expected == found else [f"{place} is {found!r} instead of {expected!r}"]

    def matches(self, expected: str, found: str) -> bool:
        """Match a text with placeholders; bind those that stand for something new."""
        pattern, names, end = "", [], 0
        for part in PLACEHOLDER.finditer(expected):
            pattern += re.escape(expected[end : part.start()])
            end = part.end()
            whole, kind = part.group(0), part.group(1)
            if whole in self.bound:
                pattern += re.escape(self.bound[whole])
            elif part.group(2):
                pattern += f"({FORMS.get(kind, '.+')})"
                names.append(whole)
            else:
                pattern += f"(?:{FORMS.get(kind, '.+')})"
        match = re.fullmatch(pattern + re.escape(expected[end:]), found)
        if match is None:
            return False
        self.bound.update(zip(names, match.groups(), strict=True))
        return True

    def fill(self, text: str) -> str:
        """Replace placeholders by what they stand for; `{commit:1:8}` is the first eight letters of it.

        Ids of commits are made anew each time: where another begins alike by chance, more letters are taken.
        """

        def value(part: re.Match[str]) -> str:
            kind, numbers = part.group(1), part.group(2).split(":")[1:]
            if part.group(0) in self.bound:
                return self.bound[part.group(0)]
            if len(numbers) == 2:
                return self.prefix(kind, "{" + f"{kind}:{numbers[0]}" + "}", int(numbers[1]))
            return part.group(0)

        return PLACEHOLDER.sub(value, text)

    def prefix(self, kind: str, name: str, length: int) -> str:
        """The first letters of what is bound to a name: so many that nothing of its kind begins alike."""
        own = self.bound[name]
        others = {text for other, text in self.bound.items() if other.startswith(f"{{{kind}:")} - {own}
        while length < len(own) and any(text.startswith(own[:length]) for text in others):
            length += 1
        return own[:length]

    def send(self, request: dict[str, Any]) -> Answer:
        """Send a recorded request."""
        path = self.fill(request["path"])
        url = urllib.parse.urlsplit(path if path.startswith("http") else f"{self.base}/api/v1{path}")
        query = request.get("query_raw") or url.query
        if given := request.get("query"):
            query = urllib.parse.urlencode(_map(given, self.fill), doseq=True, quote_via=urllib.parse.quote)
        target = f"{url.path}?{query}" if query else url.path
        headers = {name: self.fill(value) for name, value in request.get("headers", {}).items()}
        body, is_chunked = self.body_of(request, headers)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
        try:
            connection.request(request["method"], target, body, headers, encode_chunked=is_chunked)
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, response.read())
        finally:
            connection.close()

    def body_of(self, request: dict[str, Any], headers: dict[str, str]) -> tuple[Any, bool]:
        """The bytes of a recorded request, and whether they are sent in chunks."""
        if "body" not in request:
            return None, False
        body = request["body"]
        if isinstance(body, dict) and len(body) == 1 and (kind := next(iter(body))) in RAW_BODIES:
            content = body[kind]
            if kind == "chunks":
                headers["transfer-encoding"] = "chunked"
                return [chunk.encode() for chunk in content], True
            if kind == "repeat":
                return content[0].encode() * content[1], False
            return (base64.b64decode(content) if kind == "base64" else self.fill(content).encode()), False
        headers.setdefault("content-type", "application/json")
        return json.dumps(_map(body, self.fill)).encode(), False


def _basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _map(value: Any, change: Callable[[str], str]) -> Any:
    """Change every text of a JSON value."""
    if isinstance(value, dict):
        return {key: _map(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_map(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
