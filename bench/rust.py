"""What a worker in Rust costs: its file, the time to its first poll, a sample of a metric.

    [SUITE_RUST_PROFILE=dist] .venv/bin/python bench/rust.py [--runs 30] [--real-time]

The server is a few lines of Python that answer at once; its own time is in the figure. `dist` is the
profile that the guide has for small binaries. With --real-time (only root may) everything runs at
a real-time priority: other work on the machine is then not in the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import environment, rust_program, spread

TASK = "bench.echo"


class FirstPoll(ThreadingHTTPServer):
    """Knows one task, has no work, and notes the first poll."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.polled = threading.Event()
        self.moment = 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Say nothing of workers that are killed while they read."""

    @property
    def url(self) -> str:
        """The base of the API."""
        return f"http://127.0.0.1:{self.server_address[1]}/api"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FirstPoll

    def do_GET(self) -> None:
        """Answer a poll with no work, anything else with the task."""
        is_poll = "/tasks/poll" in self.path
        if is_poll and not self.server.polled.is_set():
            self.server.moment = time.perf_counter()
            self.server.polled.set()
        document = json.dumps([] if is_poll else {"name": TASK}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def milliseconds_to_first_poll(program: Path, slots: int) -> float:
    """Start a worker on folders of its own; return the time until the server sees its first poll."""
    with tempfile.TemporaryDirectory() as folder, FirstPoll() as server:
        variables = environment(Path(folder), CONDUCTOR_SERVER_URL=server.url)
        started = time.perf_counter()
        process = subprocess.Popen(
            [program, "start", TASK, "-j", str(slots)],
            cwd=folder,
            env=variables,
            stderr=subprocess.DEVNULL,
        )
        assert server.polled.wait(30), "no poll came"
        process.kill()
        process.wait()
        server.shutdown()
        return (server.moment - started) * 1000


def report_samples(rounds: int) -> None:
    """Print what each way of recording costs."""
    # Rounds are shorter than a turn on the processor: other work shows in the largest figures.
    params = json.dumps({"rounds": rounds * 20, "samples": 20_000})
    command = [rust_program("recording"), "run", "--json", "--params", params]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment(Path(folder)), capture_output=True, check=True
        )
    for name, figures in json.loads(done.stdout)["result"].items():
        print(f"{name.replace('_', ' ')}: {spread(figures, 1)} ns")


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=30)
    arguments.add_argument("--real-time", action="store_true")
    options = arguments.parse_args()
    program = rust_program("echo")
    for name, binary in (("echo", program), ("examples", rust_program("example-tasks"))):
        print(f"size of the binary, {name}: {binary.stat().st_size / 1e6:.1f} MB")
    if options.real_time:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    for slots in (1, 2):
        figures = [milliseconds_to_first_poll(program, slots) for _ in range(options.runs)]
        print(f"start to first poll, {slots} slots: {spread(figures, 1)} ms")
    report_samples(options.runs)


if __name__ == "__main__":
    main()
