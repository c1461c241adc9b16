"""How a body learns that it must stop: ``TaskCancelled`` is raised in it, and nowhere else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from perago.errors import TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from perago._native import Channel

Value = TypeVar("Value")


class Cancellation:
    """Raises `TaskCancelled` in the body that the main thread runs, when the supervisor says so.

    The supervisor's signal only says that the channel has news. Whom the news is about stands in the message,
    so that a signal that comes late stops no other body. Python runs signal handlers on the main thread,
    between two steps of the interpreter, hence never while that thread reads the channel itself.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._running: int | None = None
        self._cancelled: int | None = None

    def on_signal(self, signal_number: int, frame: FrameType | None) -> None:
        """Look for news; raise if it is about the body that runs."""
        del signal_number, frame
        # A supervisor that is gone is noticed elsewhere.
        with suppress(OSError):
            cancelled = self._channel.cancelled()
            if cancelled is not None:
                self._cancelled = cancelled
        if self._running is not None and self._running == self._cancelled:
            # At most once a body: what runs after it was raised, clean-up and the lines below, is left alone.
            self._running = None
            raise TaskCancelled("the worker stops this attempt")

    def run(self, attempt: int, body: Callable[[], Value]) -> Value | TaskCancelled:
        """Call a body that can be cancelled; return what it returns, or the exception that stopped it."""
        try:
            try:
                self._running = attempt
                if self._cancelled == attempt:
                    return TaskCancelled("the task was cancelled before its body began")
                return body()
            finally:
                # Before this line a signal raises into the handler below, after it nowhere.
                self._running = None
        except TaskCancelled as error:
            return error
