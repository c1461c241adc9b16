"""Texts of failures that never hold a value of the input.

Inputs may hold what must not be seen, and Conductor keeps reasons for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

_LONGEST_PART = 64
_MOST_ERRORS = 20
# Messages of these types quote the input.
_WITHOUT_INPUT = {
    "union_tag_invalid": "Input tag does not match any of the expected tags",
    "uuid_parsing": "Input should be a valid UUID",
    "url_parsing": "Input should be a valid URL",
    "url_syntax_violation": "Input violated strict URL syntax rules",
    "json_invalid": "Invalid JSON",
}


def validation_reason(error: ValidationError, role: str) -> str:
    """Describe a validation error by place, type and rule.

    Args:
        error: What pydantic raised.
        role: What was validated, the first part of each place: ``params``, ``result`` or a model's name.

    Returns:
        One line for each of the first errors, and how many more there are.

    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [describe_error(role, detail) for detail in details[:_MOST_ERRORS]]
    if len(details) > _MOST_ERRORS:
        lines.append(f"and {len(details) - _MOST_ERRORS} more")
    return "; ".join(lines)


def describe_error(role: str, detail: Mapping[str, Any]) -> str:
    """Describe one error of pydantic's list: place, message, type."""
    kind = detail["type"]
    message = _WITHOUT_INPUT.get(kind, detail["msg"])
    for prefix in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(prefix)
    return f"{place_of(role, detail['loc'])}: {' '.join(message.split())} [{kind}]"


def place_of(role: str, location: tuple[int | str, ...]) -> str:
    """Join the parts of a place with dots, each part cut to a sane length."""
    parts = [role]
    for part in location:
        text = str(part)
        parts.append(text if len(text) <= _LONGEST_PART else text[: _LONGEST_PART - 1] + "…")
    return ".".join(parts)


def exception_reason(error: BaseException) -> str:
    """Return what Conductor shows for an exception of a body: its text, or its type where it has none."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return validation_reason(error, error.title)
    return safe_text(error) or type(error).__name__


def safe_text(error: BaseException) -> str:
    """Return the text of an exception; one whose ``__str__`` fails has only its type."""
    try:
        # A lone surrogate has no UTF-8 form.
        return str(error).encode("utf-8", "replace").decode("utf-8")
    except Exception:
        return type(error).__name__
