"""The examples, run as their README says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.command import environment
from support.lake import KEY, Lake
from support.metrics import MetricStore, value_is

from . import pages

EXAMPLES = pages.ROOT / "examples"


def test_the_workspace_example_runs(embedded_url: str, tmp_path: Path) -> None:
    variables = {
        "CONDUCTOR_SERVER_URL": f"{embedded_url}/api",
        "LAKECTL_SERVER_ENDPOINT_URL": embedded_url,
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{embedded_url}/opentelemetry/v1/metrics",
        "OTEL_RESOURCE_ATTRIBUTES": "run=example",
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "run_features_build.py")],
        env=environment(tmp_path, **variables),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, *_, completed, unchanged = done.stdout.splitlines()
    assert completed == "COMPLETED: {'row_count': 100}"
    repository = first.removeprefix("lakefs://").partition("/")[0]
    head = Lake("embedded", embedded_url, KEY, KEY, existing=repository).head()
    assert head[:12] in first
    assert head[:12] in unchanged
    value_is(MetricStore(embedded_url), 3, "app.input_files_sum", run="example")
