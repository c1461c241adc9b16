"""What the tasks of the soak take and return; what they return can be foretold."""

import hashlib

from pydantic import BaseModel


class Params(BaseModel):
    number: int
    text: str
    seconds: float


class Result(BaseModel):
    digest: str


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
