"""The workspace step of a chain: writes its token, removes a file, says what earlier steps have written."""

from __future__ import annotations

import os
from pathlib import Path

from chained import Note, Params, Result, work

from perago import MetricRecorder, MetricSpec, WorkspaceSpec, task


@task(
    name=os.environ["SUITE_TASK"],
    owner_email="tests@example.com",
    metrics=MetricSpec(),
    workspace=WorkspaceSpec(prefix="in", on_moved_head="merge"),
)
def edit(workspace: Path, params: Params, metrics: MetricRecorder) -> Result:
    note = Note(params)
    seen = {path.name: path.read_text(encoding="utf-8") for path in sorted(workspace.glob("step-*"))}
    (workspace / f"step-{params.step}").write_text(note.token, encoding="utf-8")
    (workspace / f"old-{params.step}").unlink()
    work(params, metrics)
    return note.returns(seen)
