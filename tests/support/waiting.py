"""Waiting for something outside this process to become true: as the kit for authors does."""

from __future__ import annotations

from perago._kit.waiting import LOOK_EVERY_SECONDS, PATIENCE_SECONDS, until

__all__ = ["LOOK_EVERY_SECONDS", "PATIENCE_SECONDS", "SLACK_SECONDS", "until"]

# What a machine that is busy with something else may add to a promised time: a test tells "in time" from
# "never" or from another limit, and bench/ measures the figures.
SLACK_SECONDS = 10.0
