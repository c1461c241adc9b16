"""What the bodies of chains do: record, take some time, and leave a note of what they return."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from pathlib import Path

from pydantic import BaseModel
from recorders import record
from witness import value_of

from perago import MetricRecorder

PAUSE_SECONDS = 0.002


class Params(BaseModel):
    """One step of one run; `previous` is the token of the step before."""

    run: str
    step: int
    is_steady: bool
    seconds: float = 0
    has_child: bool = False
    previous: str = ""


class Result(BaseModel):
    """A steady step returns the same at each attempt; any other has a token that was never there before."""

    token: str
    previous: str
    seen: dict[str, str] = {}


class Note:
    """A file of one body, which is empty until the body returns."""

    def __init__(self, params: Params) -> None:
        self.params = params
        unique = uuid.uuid4().hex
        self.token = f"{params.run}-{params.step}" if params.is_steady else unique
        folder = Path(os.environ["CHAOS_NOTES"])
        self._path = folder / f"{params.run}.{params.step}.{os.getpid()}.{unique}"
        self._path.touch()

    def returns(self, seen: dict[str, str]) -> Result:
        """Note what the body is about to return."""
        result = Result(token=self.token, previous=self.params.previous, seen=seen)
        # Written beside the folder and moved in: what is there is whole.
        partial = self._path.parent.with_name(self._path.name)
        partial.write_text(json.dumps(result.model_dump()), encoding="utf-8")
        partial.rename(self._path)
        return result


def work(params: Params, metrics: MetricRecorder) -> None:
    """Record for as long as asked for, beside a program that leaves our session."""
    os.environ["CHAOS_EXECUTOR"] = str(os.getpid())
    slot = int(os.environ["PERAGO_SLOT"])
    ends_at = time.monotonic() + params.seconds
    child = None
    if params.has_child:
        child = subprocess.Popen(["sleep", str(params.seconds)], start_new_session=True)

    def goes_on() -> bool:
        time.sleep(PAUSE_SECONDS)
        return time.monotonic() < ends_at

    record(metrics, Path(os.environ["CHAOS_WITNESSES"]), slot, 0, value_of(slot, 0, 1), goes_on)
    if child is not None:
        child.wait()
