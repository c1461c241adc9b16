"""Numbers that JSON cannot hold."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any


def non_finite_place(value: Any, role: str) -> str | None:
    """Return the place of the first NaN or infinity in plain data.

    Args:
        value: Dictionaries, lists, tuples, sets and scalars.
        role: First part of the place.

    Returns:
        Keys and indices joined with dots, or ``None`` when every number is finite.

    """
    waiting: list[tuple[Any, str]] = [(value, role)]
    while waiting:
        item, place = waiting.pop()
        if isinstance(item, float):
            if item - item != 0.0:
                return place
        elif isinstance(item, dict):
            waiting.extend((child, f"{place}.{key}") for key, child in reversed(item.items()))
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting.extend((child, f"{place}.{index}") for index, child in reversed(list(enumerate(item))))
    return None
