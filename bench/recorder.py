"""Cost of one recording call in Python, loop included, beside other recorders.

Command: ``make build && .venv/bin/python bench/recorder.py``. Build the extension in release mode: figures of
a debug build mean nothing. Other recorders are measured as far as they are installed:
``pip install prometheus_client opentelemetry-sdk`` for two of them; ``--peer-python PATH`` names the
interpreter of an environment with the perago package to compare with, in which this file is run again.

Each row is the median and the fastest of ``--repeat`` runs of ``--calls`` calls, in nanoseconds of processor
time of this process, so that a busy machine adds little. The runs of one recorder's calls alternate. `empty
call` is an extension function without arguments, `labels dict` the literal that a call with labels builds:
what no recorder can save.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from importlib.util import find_spec
from typing import Any

LABELS = "{'stage': 'decode', 'format': 'wav'}"
Statements = dict[str, tuple[str, dict[str, Any]]]


def perago() -> Statements:
    """Return this project's statements."""
    from perago import _native

    store = _native.ArenaStore(tempfile.mkdtemp())
    names = {"m": _native.open_recorder(store.begin("0"), "bench")}
    return {
        "empty call": ("empty()", {"empty": sys.is_finalizing}),
        "labels dict": (LABELS, {}),
        "perago histogram": ("m.histogram('items', 0.37)", names),
        "perago histogram, 2 labels": (f"m.histogram('chunks', 0.37, labels={LABELS})", names),
        "perago gauge": ("m.gauge('depth', 3)", names),
        "perago timer": ("with m.timer('call'): pass", names),
        "perago timer, 2 labels": (f"with m.timer('step', labels={LABELS}): pass", names),
        "perago histogram, new strings": ("m.histogram(f'items{k}', 0.37)", {**names, "k": 1}),
    }


def prometheus() -> Statements:
    """Return the statements of prometheus_client."""
    from prometheus_client import CollectorRegistry, Gauge, Histogram

    registry = CollectorRegistry()
    names = {
        "h": Histogram("items", "", registry=registry),
        "l": Histogram("chunks", "", ["stage", "format"], registry=registry),
        "g": Gauge("depth", "", registry=registry),
    }
    return {
        "prometheus_client histogram": ("h.observe(0.37)", names),
        "prometheus_client histogram, 2 labels": ("l.labels('decode', 'wav').observe(0.37)", names),
        "prometheus_client gauge": ("g.set(3)", names),
        "prometheus_client timer": ("with h.time(): pass", names),
    }


def opentelemetry() -> Statements:
    """Return the statements of the OpenTelemetry SDK."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    meter = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bench")
    names = {"h": meter.create_histogram("items"), "g": meter.create_gauge("depth")}
    return {
        "opentelemetry histogram": ("h.record(0.37)", names),
        "opentelemetry histogram, 2 labels": (f"h.record(0.37, {LABELS})", names),
        "opentelemetry gauge": ("g.set(3)", names),
    }


def peer() -> Statements:
    """Return the statements of the perago package that is installed here."""
    from perago.config import MetricsConfig
    from perago.metrics import OtelMetricRecorder, TaskAttemptMetricContext

    config = MetricsConfig(endpoint="http://127.0.0.1:9/", export_interval_millis=3_600_000)
    context = TaskAttemptMetricContext("bench", "t", "w", "e", "k", 0)
    names = {"m": OtelMetricRecorder(config).with_context(context)}
    return {
        "peer histogram": ("m.histogram('items', 0.37)", names),
        "peer histogram, 2 labels": (f"m.histogram('chunks', 0.37, labels={LABELS})", names),
        "peer gauge": ("m.gauge('depth', 3)", names),
        "peer timer": ("with m.timer('call'): pass", names),
    }


def measure(statements: Statements, calls: int, repeat: int) -> dict[str, tuple[float, float]]:
    """Return the median and the fastest nanoseconds of each statement."""
    timers = {
        title: timeit.Timer(statement, timer=time.process_time, globals=names)
        for title, (statement, names) in statements.items()
    }
    runs: dict[str, list[float]] = {title: [] for title in timers}
    for _ in range(repeat):
        for title, timer in timers.items():
            runs[title].append(timer.timeit(calls) / calls * 1e9)
    return {title: (statistics.median(figures), min(figures)) for title, figures in runs.items()}


def main() -> None:
    """Measure what is installed, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--peer-python", help="interpreter of the package to compare with")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer:
        # Its calls take a hundred times as long.
        print(json.dumps(measure(peer(), arguments.calls // 20, arguments.repeat)))
        sys.stdout.flush()
        # Its last flush to nowhere would take seconds.
        os._exit(0)
    figures = measure(perago(), arguments.calls, arguments.repeat)
    for module, statements in (("prometheus_client", prometheus), ("opentelemetry.sdk", opentelemetry)):
        if find_spec(module.split(".")[0]):
            figures |= measure(statements(), arguments.calls // 10, arguments.repeat)
    if arguments.peer_python:
        options = ["--as-peer", "--calls", str(arguments.calls), "--repeat", str(arguments.repeat)]
        command = [arguments.peer_python, "-P", __file__, *options]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures |= json.loads(printed)
    print("    median    fastest")
    for title, (median, fastest) in figures.items():
        print(f"{median:10.1f} {fastest:10.1f} ns  {title}")


if __name__ == "__main__":
    main()
