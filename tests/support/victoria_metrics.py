"""A real VictoriaMetrics as an operator uses it: queries, and the two ways in which it names OTLP metrics."""

from __future__ import annotations

import contextlib
import enum
import http.client
import json
import re
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

OTLP_PATHS = ("/opentelemetry/v1/metrics", "/opentelemetry/api/v1/push")


class Naming(enum.Enum):
    """What a VictoriaMetrics makes of the names of OTLP metrics and their labels."""

    OPENTELEMETRY = "OpenTelemetry naming"
    """Names stay as they are: the default."""
    PROMETHEUS = "Prometheus naming"
    """`-opentelemetry.usePrometheusNaming`: an underscore stands for what Prometheus does not allow."""

    def shown(self, name: str) -> str:
        """Return a metric's name or a label's key as stored."""
        return name if self is Naming.OPENTELEMETRY else re.sub(r"[^A-Za-z0-9_]", "_", name)

    def query(self, query: str) -> str:
        """Return a query with the names in its selectors as stored."""
        return re.sub(r'(?<=__name__=")[^"]+', lambda match: self.shown(match[0]), query)

    @property
    def other(self) -> Naming:
        """The other one."""
        return Naming.PROMETHEUS if self is Naming.OPENTELEMETRY else Naming.OPENTELEMETRY


@dataclass(frozen=True)
class Sample:
    """One row of a query's result."""

    labels: dict[str, str]
    value: float


class VictoriaMetrics:
    """Queries of the server behind an OTLP endpoint."""

    def __init__(self, endpoint: str) -> None:
        """Take the full URL that metrics are pushed to."""
        parts = urllib.parse.urlsplit(endpoint)
        path = parts.path.rstrip("/")
        for known in OTLP_PATHS:
            path = path.removesuffix(known)
        self.endpoint = endpoint
        self._host, self._prefix, self._is_tls = parts.netloc, path, parts.scheme == "https"

    def get(self, path: str, **parameters: str) -> Any:
        """Ask for JSON; fail on any other answer than 200."""
        make = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        connection = make(self._host, timeout=30)
        try:
            connection.request("GET", f"{self._prefix}{path}?{urllib.parse.urlencode(parameters)}")
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, f"{path} {parameters}: {answer.status} {text}"
            return json.loads(text) if text.lstrip().startswith("{") else text
        finally:
            connection.close()

    def flush(self) -> None:
        """Show what has arrived at once; a server that does not let us shows it a second later by itself."""
        with contextlib.suppress(AssertionError):
            self.get("/internal/force_flush")

    def query(self, query: str) -> list[Sample]:
        """Evaluate PromQL with samples up to this moment and without cached results."""
        self.flush()
        # The server cuts its own idea of now to whole seconds, and would not see what was pushed since.
        moment = str(time.time() + 2)
        parameters = {"time": moment, "latency_offset": "1ms", "nocache": "1", "step": "5m"}
        answer = self.get("/api/v1/query", query=query, **parameters)
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in data["result"]]

    def value(self, query: str) -> float | None:
        """Evaluate PromQL to the only row of its result, or to None without any."""
        found = self.query(query)
        assert len(found) <= 1, f"{query}: {found}"
        return found[0].value if found else None

    def series(self, selector: str) -> list[dict[str, str]]:
        """Return the labels of all series, ended ones too."""
        self.flush()
        found: list[dict[str, str]] = self.get("/api/v1/series", **{"match[]": selector})["data"]
        return found
