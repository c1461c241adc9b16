"""Command line over the real services.

python tests/services/run.py -- CMD …      start both, run CMD with their URLs in the environment, stop both
python tests/services/run.py fetch         only download them
python tests/services/run.py keep --folder DIR --conductor-port N --victoria-metrics-port N
                                           start both, stay until SIGTERM or SIGINT, print their URLs
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from services.fetch import ServiceUnavailable, conductor_jar, find_java, victoria_metrics_binary
from services.processes import (
    conductor_health,
    start_conductor,
    start_victoria_metrics,
    victoria_metrics_health,
)


@contextlib.contextmanager
def running(
    folder: Path, conductor_port: int = 0, victoria_metrics_port: int = 0
) -> Iterator[dict[str, str]]:
    """Run both real servers with data under `folder`; yield the environment variables that name them."""
    with contextlib.ExitStack() as stack:
        conductor = start_conductor(folder / "conductor", conductor_port)
        stack.callback(conductor.stop)
        victoria_metrics = start_victoria_metrics(folder / "victoria-metrics", victoria_metrics_port)
        stack.callback(victoria_metrics.stop)
        victoria_metrics.wait_until_ready(victoria_metrics_health(victoria_metrics))
        conductor.wait_until_ready(conductor_health(conductor))
        yield {
            "PERAGO_TEST_CONDUCTOR_URL": f"{conductor.url}/api",
            "PERAGO_TEST_VICTORIA_METRICS_URL": victoria_metrics.url,
        }


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code (that of CMD where there is one)."""
    own, command = arguments, []
    if "--" in arguments:
        own, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    parser = argparse.ArgumentParser(description="The real Conductor and VictoriaMetrics for tests")
    parser.add_argument("action", nargs="?", choices=["run", "fetch", "keep"], default="run")
    parser.add_argument("--folder", type=Path, help="where the servers keep their data (default: temporary)")
    parser.add_argument("--conductor-port", type=int, default=0)
    parser.add_argument("--victoria-metrics-port", type=int, default=0)
    options = parser.parse_args(own)
    if options.action == "run" and not command:
        parser.error("name the command to run after `--`")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if options.action == "fetch":
            print(conductor_jar(), find_java(), victoria_metrics_binary(), sep="\n")
            return 0
        with contextlib.ExitStack() as stack:
            folder = options.folder or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="services-"))
            )
            urls = stack.enter_context(running(folder, options.conductor_port, options.victoria_metrics_port))
            if options.action == "keep":
                print(*(f"{name}={url}" for name, url in urls.items()), sep="\n", flush=True)
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
                return 0
            return subprocess.run(command, env={**os.environ, **urls}, check=False).returncode
    except ServiceUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
