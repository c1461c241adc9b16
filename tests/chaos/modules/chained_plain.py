"""The workspace-free step of a chain."""

from __future__ import annotations

import os

from chained import Note, Params, Result, work

from perago import MetricRecorder, MetricSpec, task


@task(name=os.environ["SUITE_TASK"], owner_email="tests@example.com", metrics=MetricSpec())
def plain(params: Params, metrics: MetricRecorder) -> Result:
    note = Note(params)
    work(params, metrics)
    return note.returns({})
