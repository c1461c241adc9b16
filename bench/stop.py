"""How a worker ends: SIGTERM when idle, a second signal, and a killed supervisor.

.venv/bin/python bench/stop.py [--conductor URL] [--stops 100] [--kills 20]
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from pathlib import Path

from common import parser, server, spread

from support.waiting import until
from support.worker import Worker

TASK = "bench.stop"


def stop_once(url: str, folder: Path, second: bool) -> float:
    """Return the seconds from the (second) signal to the end of an idle worker; nothing may be left of it."""
    with Worker(folder, url, TASK, "-j", "2", poll_timeout=None) as worker:
        time.sleep(random.uniform(0, 1))
        sent = worker.signal(signal.SIGTERM)
        if second:
            time.sleep(0.05)
            if worker.process.poll() is None:
                sent = worker.signal(signal.SIGTERM)
        worker.wait(10)
        seconds = time.monotonic() - sent
        assert not worker.processes(), worker.processes()
        return seconds


def kill_once(url: str, folder: Path) -> float:
    """Return the seconds from the SIGKILL of a supervisor until none of its processes is left."""
    with Worker(folder, url, TASK, "-j", "2", poll_timeout=None) as worker:
        sent = worker.signal(signal.SIGKILL)
        until(lambda: not worker.processes(), "no process", 10)
        return time.monotonic() - sent


def main() -> None:
    """Run all of it and print the worst beside the median."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--stops", type=int, default=100)
    arguments.add_argument("--kills", type=int, default=20)
    options = arguments.parse_args()
    with server(options.conductor) as conductor, tempfile.TemporaryDirectory() as folder:
        conductor.define(TASK)
        place = Path(folder)
        first = [stop_once(conductor.url, place, False) for _ in range(options.stops)]
        print(f"SIGTERM, idle           {spread(first)} s, {len(first)} of {options.stops} gone")
        again = [stop_once(conductor.url, place, True) for _ in range(options.stops)]
        print(f"second SIGTERM          {spread(again)} s, {len(again)} of {options.stops} gone")
        kills = [kill_once(conductor.url, place) for _ in range(options.kills)]
        print(f"SIGKILL of a supervisor {spread(kills)} s until no process is left, {len(kills)} times")


if __name__ == "__main__":
    main()
