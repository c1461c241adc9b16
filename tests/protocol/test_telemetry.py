"""OTLP in, series out: the embedded receiver shows what the real VictoriaMetrics shows."""

from __future__ import annotations

import gzip
import json
import struct
import time
import urllib.parse
import uuid
from typing import Any

from .client import Conductor, Http


def field(number: int, value: bytes | int) -> bytes:
    """Encode one protobuf field: bytes as length-delimited, numbers as varint."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 1) + value


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def double(value: float) -> bytes:
    return struct.pack("<d", value)


def attribute(key: str, value: str) -> bytes:
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def now() -> bytes:
    return time.time_ns().to_bytes(8, "little")


def request(*metrics: bytes) -> bytes:
    resource = field(1, attribute("service.name", "checker")) + field(
        1, attribute("service.instance.id", "i 1")
    )
    scope = b"".join(field(2, metric) for metric in metrics)
    return field(1, field(1, resource) + field(2, scope))


def metric(name: str, kind: int, data: bytes) -> bytes:
    return field(1, name.encode()) + field(kind, data)


def gauge(name: str, value: float | None) -> bytes:
    point = field(7, attribute("task_name", "a.b")) + fixed(3, now())
    point += field(8, 1) if value is None else fixed(4, double(value))
    return metric(name, 5, field(1, point))


def cumulative_sum(name: str, value: int) -> bytes:
    point = fixed(3, now()) + fixed(6, value.to_bytes(8, "little"))
    return metric(name, 7, field(1, point) + field(2, 2) + field(3, 1))


def histogram(name: str) -> bytes:
    counts = b"".join(count.to_bytes(8, "little") for count in (1, 2, 3))
    point = field(9, attribute("task_name", "a.b")) + field(9, attribute("empty", "")) + fixed(3, now())
    point += fixed(4, (6).to_bytes(8, "little")) + fixed(5, double(7.5)) + field(6, counts)
    point += field(7, double(0.005) + double(1000000.0))
    return metric(name, 9, field(1, point) + field(2, 2))


def push(store: Http, body: bytes, **headers: str) -> None:
    answer = store.request(
        "POST", "/opentelemetry/v1/metrics", body, Content_Type="application/x-protobuf", **headers
    )
    assert answer.status == 200, answer.text
    store.get("/internal/force_flush")


def named(name: str, more: str = "") -> str:
    return f'{{__name__="{name}"{more}}}'


def query(store: Http, text: str) -> Any:
    answer = store.get(f"/api/v1/query?query={urllib.parse.quote(text)}")
    assert answer.status == 200, answer.text
    return answer.json["data"]["result"]


def test_metrics_become_series(metrics_store: Http) -> None:
    name = f"app.check_{uuid.uuid4().hex[:8]}"
    body = request(
        gauge(f"{name}.level", 2.5), cumulative_sum(f"{name}.total", 41), histogram(f"{name}.size")
    )
    push(metrics_store, gzip.compress(body), Content_Encoding="gzip")
    selector = named(f"{name}.level")
    shown = Conductor.until(lambda: query(metrics_store, selector))
    resource = {"service.name": "checker", "service.instance.id": "i 1"}
    assert shown[0]["metric"] == {"__name__": f"{name}.level", "task_name": "a.b", **resource}
    assert shown[0]["value"][1] == "2.5"
    total = Conductor.until(lambda: query(metrics_store, named(f"{name}.total")))
    assert (total[0]["value"][1], total[0]["metric"]) == ("41", {"__name__": f"{name}.total", **resource})

    def of(suffix: str, key: str = "__name__") -> dict[str, str]:
        rows = query(metrics_store, named(f"{name}.size_{suffix}", ',task_name="a.b"'))
        return {row["metric"][key]: row["value"][1] for row in rows}

    Conductor.until(lambda: of("bucket"))
    assert of("bucket", "le") == {"0.005": "1", "1000000": "3", "+Inf": "6"}
    assert list(of("count").values()) == ["6"]
    assert list(of("sum").values()) == ["7.5"]


def test_a_gauge_without_value_ends_at_once(metrics_store: Http) -> None:
    name = f"check_{uuid.uuid4().hex[:8]}"
    push(metrics_store, request(gauge(name, 1.0)))
    Conductor.until(lambda: query(metrics_store, name))
    # The store keeps whole milliseconds, and the end must not share one with the value.
    began = time.time_ns() // 1_000_000
    Conductor.until(lambda: time.time_ns() // 1_000_000 > began)
    push(metrics_store, request(gauge(name, None)))
    Conductor.until(lambda: not query(metrics_store, name))


def test_series_and_export(metrics_store: Http) -> None:
    name = f"check_{uuid.uuid4().hex[:8]}"
    push(metrics_store, request(gauge(name, 3.0)))
    match = urllib.parse.quote("match[]") + "=" + urllib.parse.quote(named(name))
    shown = Conductor.until(lambda: metrics_store.get(f"/api/v1/series?{match}").json["data"])
    assert [series["__name__"] for series in shown] == [name]
    exported = Conductor.until(lambda: metrics_store.get(f"/api/v1/export?{match}").text.splitlines())
    (series,) = [json.loads(line) for line in exported]
    assert series["metric"]["task_name"] == "a.b"
    assert series["values"] == [3]
    assert len(series["timestamps"]) == 1


def test_the_embedded_receiver_refuses_what_it_cannot_do(embedded_url: str) -> None:
    store = Http(embedded_url)
    assert store.get(f"/api/v1/query?query={urllib.parse.quote('sum(a)')}").status == 501
    assert store.get("/api/v1/query?query=").status == 422
    assert store.get("/api/v1/series").status == 422
    assert store.post("/opentelemetry/v1/metrics", {}).status == 415
    broken = store.request(
        "POST", "/opentelemetry/v1/metrics", b"\xff", Content_Type="application/x-protobuf"
    )
    assert broken.status == 400
    delta = metric("a.delta", 7, field(1, fixed(6, bytes(8))) + field(2, 1))
    answer = store.request(
        "POST", "/opentelemetry/v1/metrics", request(delta), Content_Type="application/x-protobuf"
    )
    assert answer.status == 200
    assert b"only cumulative sums are taken" in answer.body
