"""A task whose parameters are bounded in every way: the twin of `bounded` in the suite's `shapes.rs`."""

from __future__ import annotations

import os
from enum import Enum
from typing import Annotated, Literal, Optional

from pydantic import BaseModel, Field

from perago import task


class Codec(Enum):
    WAV = "wav"
    FLAC = "flac"


class Track(BaseModel):
    gain: float = Field(0.0, ge=-60, lt=12, multiple_of=0.5)
    kind: Literal["stem"]


class Bounded(BaseModel):
    count: int = Field(1, ge=1, le=9)
    size: int = Field(0, ge=0)
    port: int = Field(0, ge=0, le=65535)
    pan: int = Field(0, ge=-128, le=127)
    title: str = Field("", max_length=5, pattern="^[a-zäöü]*$")
    tags: list[Annotated[str, Field(min_length=1)]] = Field([], max_length=2)
    weights: dict[str, Annotated[int, Field(ge=0)]] = Field({}, max_length=2)
    marks: set[int] = Field(set(), max_length=2)
    codec: Codec = Codec.WAV
    track: Optional[Track] = None  # noqa: UP045
    depth: Optional[Annotated[int, Field(ge=3)]] = None  # noqa: UP045


class Done(BaseModel):
    pass


@task(name=os.environ.get("SUITE_TASK", "suite.bounded"), owner_email="tests@example.com")
def bounded(params: Bounded) -> Done:
    return Done()
