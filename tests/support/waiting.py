"""Waiting for something outside this process to become true: as the kit for authors does."""

from __future__ import annotations

from perago._kit.waiting import LOOK_EVERY_SECONDS, PATIENCE_SECONDS, until

__all__ = ["LOOK_EVERY_SECONDS", "PATIENCE_SECONDS", "until"]
