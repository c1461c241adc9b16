"""A task whose body lasts a known time and leaves a line when it begins and when it ends."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from pydantic import BaseModel

from perago import task


class EnduringParams(BaseModel):
    run: str
    ends_at: float


class EnduringResult(BaseModel):
    token: str


@task(name=os.environ["SUITE_TASK"], owner_email="bench@example.com")
def endure(params: EnduringParams) -> EnduringResult:
    token = uuid.uuid4().hex
    notes = Path(os.environ["OUTAGE_NOTES"])
    (notes / f"{params.run}.begun.{token}").touch()
    time.sleep(max(0, params.ends_at - time.time()))
    (notes / f"{params.run}.ended.{token}").touch()
    return EnduringResult(token=token)
