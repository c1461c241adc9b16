"""One HTTP request, and its answer as it is: as the kit for authors sends it."""

from __future__ import annotations

from perago._kit.http import HttpAnswer, send

__all__ = ["HttpAnswer", "send"]
