"""Cost of one recording call in Python and in Rust, loop included, beside other recorders.

    make build && .venv/bin/python bench/recorder.py --peer PEER_VENV/bin/perago

The extension must be a release build: figures of a debug build mean nothing. prometheus_client and the
OpenTelemetry SDK are measured in an environment of their own, which is made below ``target`` at the first run
(or named by ``--others-python``). ``--peer`` names the `perago` command of a virtual environment with
perago==0.6.1. The Rust rows are those of ``cargo bench -p perago-metrics``; ``--no-rust`` leaves them out.

Each row is the median and the fastest of ``--repeat`` runs of ``--calls`` calls, in nanoseconds of processor
time of the process, so that a busy machine adds little; and the median as a multiple of the empty call in the
same process. The runs of one recorder's calls alternate. What no recorder can save:

empty call          an extension function without arguments
labels dict         the literal that a call with labels builds
does nothing        the same call on the recorder of a worker without metrics, which only checks its shape
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OTHERS = ("prometheus_client", "opentelemetry-sdk")
LABELS = "{'stage': 'decode', 'format': 'wav'}"
Statements = dict[str, tuple[str, dict[str, Any]]]
Figures = dict[str, tuple[float, float]]
EMPTY: Statements = {"empty call": ("empty()", {"empty": sys.is_finalizing})}


def perago() -> Statements:
    """Return this project's statements."""
    from perago import _native

    store = _native.ArenaStore(tempfile.mkdtemp())
    names = {
        "m": _native.open_recorder(store.begin("0"), "bench"),
        "d": _native.DisabledRecorder(),
        "l": {"stage": "decode", "format": "wav"},
    }
    return {
        **EMPTY,
        "labels dict": (LABELS, {}),
        "does nothing, name and value": ("d.histogram('items', 0.37)", names),
        "does nothing, 2 labels": (f"d.histogram('chunks', 0.37, labels={LABELS})", names),
        "does nothing, timer": ("with d.timer('call'): pass", names),
        "perago histogram": ("m.histogram('items', 0.37)", names),
        "perago histogram, 2 labels": (f"m.histogram('chunks', 0.37, labels={LABELS})", names),
        "perago histogram, 2 labels in a dict made before": ("m.histogram('chunks', 0.37, labels=l)", names),
        "perago gauge": ("m.gauge('depth', 3)", names),
        "perago timer": ("with m.timer('call'): pass", names),
        "perago timer, 2 labels": (f"with m.timer('step', labels={LABELS}): pass", names),
        "perago histogram, name made at each call": ("m.histogram(f'items{k}', 0.37)", {**names, "k": 1}),
    }


def others() -> Statements:
    """Return the statements of prometheus_client and of the OpenTelemetry SDK."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from prometheus_client import CollectorRegistry, Gauge, Histogram

    registry = CollectorRegistry()
    prometheus = {
        "h": Histogram("items", "", registry=registry),
        "l": Histogram("chunks", "", ["stage", "format"], registry=registry),
        "g": Gauge("depth", "", registry=registry),
    }
    meter = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bench")
    telemetry = {"h": meter.create_histogram("items"), "g": meter.create_gauge("depth")}
    return {
        "prometheus_client histogram": ("h.observe(0.37)", prometheus),
        "prometheus_client histogram, 2 labels": ("l.labels('decode', 'wav').observe(0.37)", prometheus),
        "prometheus_client gauge": ("g.set(3)", prometheus),
        "prometheus_client timer": ("with h.time(): pass", prometheus),
        "prometheus_client timer, 2 labels": ("with l.labels('decode', 'wav').time(): pass", prometheus),
        "opentelemetry histogram": ("h.record(0.37)", telemetry),
        "opentelemetry histogram, 2 labels": (f"h.record(0.37, {LABELS})", telemetry),
        "opentelemetry gauge": ("g.set(3)", telemetry),
    }


def peer() -> Statements:
    """Return the statements of perago 0.6.1."""
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
        "peer timer, 2 labels": (f"with m.timer('step', labels={LABELS}): pass", names),
    }


def measure(statements: Statements, calls: int, repeat: int) -> Figures:
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


def elsewhere(python: Path, statements: str, calls: int, repeat: int) -> Figures:
    """Run this file in another environment; return what it measured."""
    options = ["--statements", statements, "--calls", str(calls), "--repeat", str(repeat)]
    command = [str(python), "-P", __file__, *options]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(printed))


def others_python() -> Path:
    """Return the interpreter of the environment of the other recorders, made if it is missing."""
    folder = ROOT / "target" / "bench-others"
    python = folder / "bin" / "python"
    installed = folder / "installed"
    if not installed.exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *OTHERS], check=True)
        installed.touch()
    return python


def rust() -> Figures:
    """Return the figures of the benchmark in Rust."""
    command = ["cargo", "bench", "--quiet", "-p", "perago-metrics", "--bench", "recording"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    unit = {"ns": 1.0, "µs": 1e3, "ms": 1e6}
    figures: Figures = {}
    title = ""
    for line in printed.splitlines():
        row = re.match(r"(?:│ *)?[├╰]─ (\S+)", line)
        if row is None:
            continue
        threads = re.fullmatch(r"t=(\d+)", row[1])
        title = title if threads else row[1].replace("_", " ")
        # The fastest, the slowest, the median, the mean.
        times = [float(number) * unit[name] for number, name in re.findall(r"([\d.]+) (ns|µs|ms)", line)]
        if times:
            figures[f"Rust {title}, {threads[1]} threads" if threads else f"Rust {title}"] = (
                times[2],
                times[0],
            )
    return figures


def show(figures: Figures) -> None:
    """Print rows of one process, as multiples of its own empty call where it measured one."""
    empty = figures.get("empty call")
    for title, (median, fastest) in figures.items():
        multiple = f"{median / empty[0]:8.1f} x" if empty else " " * 10
        print(f"{median:10.1f} {fastest:10.1f} {multiple}  {title}", flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--peer", type=Path, help="the `perago` command of an environment with perago==0.6.1")
    parser.add_argument("--others-python", type=Path, help=f"an interpreter that has {' and '.join(OTHERS)}")
    parser.add_argument("--no-others", action="store_true", help="leave the other recorders out")
    parser.add_argument("--no-rust", action="store_true", help="leave the rows in Rust out")
    parser.add_argument("--statements", choices=["others", "peer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    calls, repeat = arguments.calls, arguments.repeat
    if arguments.statements:
        statements = others() if arguments.statements == "others" else peer()
        # Their calls take a hundred times as long.
        slow = measure(statements, calls // 20, repeat)
        print(json.dumps(measure(EMPTY, calls, repeat) | slow), flush=True)
        # The peer's last flush to nowhere would take seconds.
        os._exit(0)
    print("    median    fastest   in empty calls  (nanoseconds)")
    show(measure(perago(), calls, repeat))
    if not arguments.no_others:
        show(elsewhere(arguments.others_python or others_python(), "others", calls, repeat))
    if arguments.peer:
        show(elsewhere(arguments.peer.parent / "python", "peer", calls, repeat))
    if not arguments.no_rust:
        show(rust())


if __name__ == "__main__":
    main()
