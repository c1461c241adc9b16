"""Pydantic without the search for its plugins, for a process that only describes a module.

Plugins observe validation, of which a check does none. Looking for them imports importlib.metadata and with
it email,
zipfile and socket, which takes a third of the time of a whole check.
"""

from __future__ import annotations

import sys
from typing import Any

_LOADER = "pydantic.plugin._loader"


class _NoPlugins(type(sys)):  # type: ignore[misc]
    """Stands in for pydantic's loader of plugins; gives way to it when asked for anything else."""

    def get_plugins(self) -> tuple[()]:
        """Return no plugins."""
        return ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        restore()
        return getattr(__import__(_LOADER, fromlist=[name]), name)


def suspend() -> None:
    """Let pydantic find no plugins until :func:`restore`, unless it has looked for them already."""
    if _LOADER not in sys.modules:
        sys.modules[_LOADER] = _NoPlugins(_LOADER)


def restore() -> None:
    """Let pydantic look for its plugins again."""
    if isinstance(sys.modules.get(_LOADER), _NoPlugins):
        del sys.modules[_LOADER]
