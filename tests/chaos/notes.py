"""What the bodies of the chains have left in a folder (`modules/chained.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Notes:
    """The files of all bodies, one for each: empty until it is about to return, then its result."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder

    def begun(self) -> int:
        """How many bodies have begun."""
        return sum(1 for _ in self.folder.iterdir())

    def running(self) -> set[int]:
        """The processes of bodies that have not returned, dead ones too."""
        return {int(path.name.split(".")[2]) for path in self.folder.iterdir() if not path.stat().st_size}

    def returned(self, run: str, step: int) -> list[dict[str, Any]]:
        """Read what the bodies of one step were about to return."""
        texts = [path.read_text(encoding="utf-8") for path in self.folder.glob(f"{run}.{step}.*")]
        return [json.loads(text) for text in texts if text]
