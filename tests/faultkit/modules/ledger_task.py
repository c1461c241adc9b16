"""A task whose body writes a line wherever it runs, so that a test can count."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, task


class Params(BaseModel):
    ledger: Path
    text: str


class Result(BaseModel):
    text: str


@task(name="faultkit.ledger", owner_email="tests@example.com", metrics=MetricSpec())
def note(params: Params, metrics: MetricRecorder) -> Result:
    with params.ledger.open("a") as file:
        file.write(f"{params.text}\n")
    metrics.histogram("notes", 1, labels={"text": params.text})
    return Result(text=params.text)
