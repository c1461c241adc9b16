"""A store of metrics, embedded or real, asked in the way of VictoriaMetrics."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import Any


class MetricStore:
    """Queries below one base URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.endpoint = f"{url}/opentelemetry/v1/metrics"

    def _get(self, path: str, **query: str) -> str:
        base = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=30)
        try:
            connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status < 300, f"{path} {query}: {answer.status} {text}"
            return text
        finally:
            connection.close()

    def query(self, name: str, **labels: str) -> list[dict[str, Any]]:
        """Return the series of a metric with these labels: their labels and their last value."""
        self._get("/internal/force_flush")
        found = json.loads(self._get("/api/v1/query", query=selector(name, labels)))["data"]["result"]
        return [{"labels": one["metric"], "value": float(one["value"][1])} for one in found]

    def exported(self, name: str, **labels: str) -> list[dict[str, Any]]:
        """Return the series of a metric with every value that was pushed; None where a gauge ended."""
        self._get("/internal/force_flush")
        lines = self._get("/api/v1/export", **{"match[]": selector(name, labels)})
        return [json.loads(line) for line in lines.splitlines()]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum over the series of a metric, None without any."""
        found = self.query(name, **labels)
        return sum(one["value"] for one in found) if found else None


def selector(name: str, labels: dict[str, str]) -> str:
    """Return the PromQL selector of a metric with these labels."""
    wanted = {"__name__": name, **labels}
    return "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in wanted.items()) + "}"
