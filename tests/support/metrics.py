"""A store of metrics, embedded or real, asked in the way of VictoriaMetrics."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections import Counter
from typing import Any

from .waiting import until


class MetricStore:
    """Queries below one base URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.endpoint = f"{url}/opentelemetry/v1/metrics"

    def _get(self, path: str, **query: str) -> str:
        base = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=60)
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
        return [{"labels": one["metric"], "value": float(one["value"][1])} for one in self._now(name, labels)]

    def _now(self, name: str | None, labels: dict[str, str]) -> list[dict[str, Any]]:
        """Return what series hold now, all that has been pushed included."""
        self._get("/internal/force_flush")
        # VictoriaMetrics cuts its own idea of now to whole seconds, and would not see what was pushed since.
        moment = str(time.time() + 2)
        found = self._get("/api/v1/query", query=selector(name, labels), time=moment)
        return list(json.loads(found)["data"]["result"])

    def exported(self, name: str | None, **labels: str) -> list[dict[str, Any]]:
        """Return the series of a metric, or of all, with every pushed value; None where a gauge ended."""
        self._get("/internal/force_flush")
        lines = self._get("/api/v1/export", **{"match[]": selector(name, labels)})
        return [json.loads(line) for line in lines.splitlines()]

    def names(self, **labels: str) -> dict[str, int]:
        """Return the names that have series with these labels, each with the number of its series."""
        return dict(Counter(one["metric"]["__name__"] for one in self._now(None, labels)))

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum over the series of a metric, None without any."""
        found = self.query(name, **labels)
        return sum(one["value"] for one in found) if found else None


def selector(name: str | None, labels: dict[str, str]) -> str:
    """Return the PromQL selector of a metric, or of all, with these labels."""
    wanted = labels if name is None else {"__name__": name, **labels}
    return "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in wanted.items()) + "}"


def value_is(store: MetricStore, expected: float | None, name: str, **labels: str) -> None:
    """Wait until the series of a metric add up to a value; None waits until there is none."""
    seen: list[float | None] = [None]

    def look() -> bool:
        seen[0] = store.value(name, **labels)
        return seen[0] == expected

    try:
        until(look, name)
    except AssertionError:
        raise AssertionError(f"{name}{labels} is {seen[0]}, not {expected}") from None
