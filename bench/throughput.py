"""Tasks a second of an echo task, beside a bare poll-and-update loop with the same slots and rule.

    .venv/bin/python bench/throughput.py [--conductor URL] [--pairs 10] [--tasks 500] [--slots 2] [--rust]
        [--peer PEER_VENV/bin/perago]

The tasks are queued first. A run is timed from the first claim to the last accepted update, as the server's
own records say, so that starting a process does not count. Loop and worker take turns, and in every second
pair the other one goes first: a young server gets faster from run to run, an older one slower.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from common import (
    Conductor,
    build_example,
    parser,
    perago_command,
    rust_program,
    server,
    spread,
    worker,
)

TASK = "bench.echo"
LOOK_EVERY_SECONDS = 1.0
# The real server's code is compiled while it runs.
WARM_UPS = 2


def queue(conductor: Conductor, workflow: str, tasks: int) -> list[str]:
    """Start the workflows of one run."""
    return [conductor.start(workflow, {"x": 1}) for _ in range(tasks)]


def seconds_of(conductor: Conductor, runs: list[str]) -> float:
    """Wait for all runs; return the seconds between the first claim and the last end."""
    # Seldom: the server that is measured answers this question too.
    while conductor.queue_size(TASK):
        time.sleep(LOOK_EVERY_SECONDS)
    tasks = []
    for run in runs:
        task = conductor.wait_task(run, 60)
        assert task["status"] == "COMPLETED", task
        tasks.append(task)
    return (max(task["endTime"] for task in tasks) - min(task["startTime"] for task in tasks)) / 1000


def main() -> None:
    """Run the pairs and print rates and their ratio."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--pairs", type=int, default=10)
    arguments.add_argument("--tasks", type=int, default=500)
    arguments.add_argument("--slots", type=int, default=2)
    arguments.add_argument("--rust", action="store_true", help="measure the same task in Rust too")
    options = arguments.parse_args()
    loop = build_example("perago-conductor", "bare_loop")
    rates: dict[str, list[float]] = {"bare loop": []}
    # What each runs, and how its command names the task.
    commands = {"perago": (perago_command(), "echo")}
    if options.rust:
        commands["perago, Rust"] = ([str(rust_program("echo"))], TASK)
    if options.peer:
        commands["peer 0.6.1"] = ([str(options.peer)], "echo")
    rates |= {name: [] for name in commands}
    with server(options.conductor) as conductor, tempfile.TemporaryDirectory() as folder:
        conductor.define(TASK)
        for number in range(-WARM_UPS + 1, options.pairs + 1):
            turns = list(rates.items())
            for name, measured in turns if number % 2 else reversed(turns):
                runs = queue(conductor, TASK, options.tasks)
                if name == "bare loop":
                    command = [loop, conductor.url, TASK, str(options.slots), str(options.tasks)]
                    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                    seconds = seconds_of(conductor, runs)
                else:
                    command, target = commands[name]
                    place = Path(folder) / uuid.uuid4().hex
                    place.mkdir()
                    with worker(command, target, conductor.url, options.slots, place):
                        seconds = seconds_of(conductor, runs)
                rate = options.tasks / seconds
                print(
                    f"{'pair ' + str(number) if number > 0 else 'warm-up'}: {name} {rate:.1f} tasks/s",
                    flush=True,
                )
                if number > 0:
                    measured.append(rate)
        print(f"{conductor.kind} server, {options.slots} slots, {options.pairs} pairs, {options.tasks} tasks")
    for name, measured in rates.items():
        print(f"{name:<12} {spread(measured, 1)} tasks/s")
    for name, measured in rates.items():
        if name != "bare loop":
            ratios = [own / bare for own, bare in zip(measured, rates["bare loop"], strict=True)]
            print(f"{name} / bare loop: {spread(ratios)}")
            medians = ratio_of_medians(measured, rates["bare loop"])
            print(f"{name} / bare loop, ratio of medians: {medians:.3f}")


def ratio_of_medians(own: list[float], bare: list[float]) -> float:
    """Return the ratio of the two medians."""
    return statistics.median(own) / statistics.median(bare)


if __name__ == "__main__":
    main()
