"""The task of the soak that changes a workspace, and records that it did."""

import time
from pathlib import Path

from soak_shared import Params, Result, digest

from perago import MetricRecorder, MetricSpec, WorkspaceSpec, task


@task(
    name="bench.soak.edit",
    owner_email="bench@example.com",
    workspace=WorkspaceSpec(prefix="in"),
    metrics=MetricSpec(),
)
def edit(workspace: Path, params: Params, metrics: MetricRecorder) -> Result:
    contents = [path.read_text() for path in sorted(workspace.rglob("*")) if path.is_file()]
    time.sleep(params.seconds)
    (workspace / "added").write_text(params.text)
    metrics.histogram("handled", 1)
    return Result(digest=digest(str(params.number), *contents))
