"""A task whose body ends when it is told to, which is when a heartbeat passes by."""

from __future__ import annotations

import os
import socket
import struct
import time

from pydantic import BaseModel

from perago import task


class RaceParams(BaseModel):
    trial: int


class RaceResult(BaseModel):
    trial: int
    ended_at: float


@task(name=os.environ["SUITE_TASK"], owner_email="bench@example.com")
def race(params: RaceParams) -> RaceResult:
    with socket.socket(socket.AF_UNIX) as starter:
        starter.connect(os.environ["RACE_SOCKET"])
        starter.sendall(struct.pack("=I", params.trial))
        (moment,) = struct.unpack("=d", starter.recv(8, socket.MSG_WAITALL))
    while (now := time.time()) < moment:
        pass
    return RaceResult(trial=params.trial, ended_at=now)
