"""Tracebacks as authors want them: their own code, without ours and the import system's."""

from __future__ import annotations

import os
from pathlib import Path

from perago._collector import is_ours

_STANDARD_LIBRARY = str(Path(os.__file__).parent) + os.sep


def author_place_of(error: BaseException) -> tuple[str | None, int | None]:
    """Return the innermost place in the author's code, else in any code that is not ours."""
    author: tuple[str | None, int | None] = (None, None)
    other = author
    traceback = error.__traceback__
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not is_ours(filename):
            other = (filename, traceback.tb_lineno)
            if "/site-packages/" not in filename and not filename.startswith((_STANDARD_LIBRARY, "<")):
                author = other
        traceback = traceback.tb_next
    return author if author[0] is not None else other


def format_author_exception(error: BaseException) -> str:
    """Return an exception with its causes and traceback, beginning in the author's code."""
    import traceback

    first = error.__traceback__
    while first is not None and is_ours(first.tb_frame.f_code.co_filename):
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first or error.__traceback__))
