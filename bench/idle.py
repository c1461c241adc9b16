"""What an idle worker costs: memory, processor time, requests.

    .venv/bin/python bench/idle.py [--conductor URL] [--seconds 600] [--slots 2] [--rust] [--peer …]

Memory is the sum of proportional set sizes over all processes. Requests are counted by a proxy in between.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from common import (
    cpu_seconds,
    parser,
    perago_command,
    pss_megabytes,
    quiet,
    rust_program,
    server,
    worker,
)

from support.waiting import until

TASK = "bench.echo"


class CountingProxy:
    """Passes connections on to one address and counts the HTTP requests in them."""

    def __init__(self, url: str) -> None:
        target = urllib.parse.urlsplit(url)
        self._target = (target.hostname or "127.0.0.1", target.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{target.path}"
        self.requests = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            upstream = socket.create_connection(self._target)
            for source, sink, counted in ((client, upstream, True), (upstream, client, False)):
                threading.Thread(target=self._pass, args=(source, sink, counted), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        # Either end may close while the other still sends.
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted:
                    self.requests += data.count(b" HTTP/1.1\r\n")
                sink.sendall(data)
        sink.close()


def main() -> None:
    """Measure each contender for the whole time and print its figures."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--slots", type=int, default=2)
    arguments.add_argument("--rust", action="store_true", help="measure the same task in Rust too")
    options = arguments.parse_args()
    contenders = {"perago": (perago_command(), "echo")}
    if options.rust:
        contenders["perago, Rust"] = ([str(rust_program("echo"))], TASK)
    if options.peer:
        contenders["peer 0.6.1"] = ([str(options.peer)], "echo")
    with server(options.conductor) as conductor:
        conductor.define(TASK)
        for name, (command, target) in contenders.items():
            with tempfile.TemporaryDirectory() as folder:
                proxy = CountingProxy(conductor.url)
                with worker(command, target, proxy.url, options.slots, Path(folder)) as started:
                    run = conductor.start(TASK, {"x": 1})
                    conductor.wait(run)
                    # The last executor may still be importing.
                    until(lambda: quiet(started.pids()), "an idle worker", 60)
                    measure(name, started.pids(), proxy, options.seconds)


def measure(name: str, pids: list[int], proxy: CountingProxy, seconds: float) -> None:
    """Print the figures of one worker."""
    requests, cpu, started = proxy.requests, cpu_seconds(pids), time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - started
    share = 100 * (cpu_seconds(pids) - cpu) / elapsed
    rate = (proxy.requests - requests) / elapsed
    memory = pss_megabytes(pids)
    print(
        f"{name:<12} {len(pids)} processes  {memory:.1f} MB  {share:.2f} % of a core  {rate:.2f} requests/s"
        f"  over {elapsed:.0f} s"
    )


if __name__ == "__main__":
    main()
