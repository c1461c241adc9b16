"""How long a slot is out of use when its executor is killed: failure on the server, new process, next body.

.venv/bin/python bench/slot_recovery.py [--conductor URL] [--kills 30]
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from common import Conductor, parser, server, spread

from support.waiting import until
from support.worker import Worker

TASK = "bench.slot_recovery"
TICKS = os.sysconf("SC_CLK_TCK")


def started_at(pid: int) -> float:
    """Return when a process was started, on the wall clock, to a hundredth of a second."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(stat[19]) / TICKS


def process_of_body(meeting: Path) -> int:
    """Wait for the start of a body; return the process that runs it."""
    started = meeting / "started"
    return int(until(lambda: started.exists() and started.read_text(), "the body's start"))


def kill_once(conductor: Conductor, folder: Path) -> tuple[float, float, float]:
    """Kill the executor of a body while another task waits.

    Return the seconds from the kill to the failure on the server, from the kill to the start of the next
    executor's process, and from there to the next body, which is the import and the assignment.
    """
    first, second = folder / "first", folder / "second"
    for meeting in (first, second):
        meeting.mkdir(parents=True)
    run = conductor.start(TASK, {"action": "gate", "folder": str(first)})
    victim = process_of_body(first)
    waiting = conductor.start(TASK, {"action": "gate", "folder": str(second)})
    killed = time.time()
    os.kill(victim, signal.SIGKILL)
    successor = started_at(process_of_body(second))
    begun = (second / "started").stat().st_mtime
    (second / "go").touch()
    task = conductor.wait_task(run)
    assert task["status"] == "FAILED", task
    conductor.wait_task(waiting)
    return task["endTime"] / 1000 - killed, successor - killed, begun - successor


def main() -> None:
    """Kill executors one after the other and print medians with the extremes."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--kills", type=int, default=30)
    options = arguments.parse_args()
    with server(options.conductor) as conductor, tempfile.TemporaryDirectory() as folder:
        conductor.define(TASK)
        place = Path(folder)
        with Worker(place, conductor.url, TASK, PERAGO_RESTART_MAX_DELAY="1ms") as worker:
            times = [kill_once(conductor, place / f"kill-{number}") for number in range(options.kills)]
            assert len(worker.records("executor_exited")) == options.kills
        failed, process, body = (list(one) for one in zip(*times, strict=True))
        print(f"executor killed, {options.kills} times, seconds: median (min to max)")
        print(f"failure on the server       {spread(failed)}")
        print(f"next executor's process     {spread(process)}")
        print(f"its import, and assignment  {spread(body)}")


if __name__ == "__main__":
    main()
