"""Waiting for something outside this process to become true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

LOOK_EVERY_SECONDS = 0.01
PATIENCE_SECONDS = 30.0


def until(look: Callable[[], Seen | None], what: str, seconds: float = PATIENCE_SECONDS) -> Seen:
    """Call `look` until it returns something true, and return that.

    Args:
        look: What to call.
        what: What is awaited, for the message of a failure.
        seconds: How long to wait.

    Raises:
        AssertionError: It did not come true in time.

    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(LOOK_EVERY_SECONDS)
