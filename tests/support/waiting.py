"""Waiting for something outside this process to become true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

LOOK_EVERY_SECONDS = 0.01
PATIENCE_SECONDS = 30.0
# What a machine that is busy with something else may add to a promised time: a test tells "in time" from
# "never" or from another limit, and bench/ measures the figures.
SLACK_SECONDS = 10.0


def until(look: Callable[[], Seen | None], what: str, seconds: float = PATIENCE_SECONDS) -> Seen:
    """Call `look` until it returns something true; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(LOOK_EVERY_SECONDS)
