"""What a body prints or logs, sent to the worker's log with the attempt that it belongs to."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from perago._native import Channel

_STANDARD_RECORD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class BodyLog:
    """Sends lines to the supervisor.

    In process mode every line of the process belongs to the one attempt that runs, whichever thread writes
    it. In thread mode a line belongs to the attempt of its own thread.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._shared = channel.threads == 1
        self._current: int | None = None
        self._local = threading.local()
        self._streams: list[LineStream] = []

    @contextmanager
    def attempt(self, number: int) -> Iterator[None]:
        """Attribute what is logged to the attempt with this number."""
        self._current = number
        self._local.current = number
        try:
            yield
        finally:
            for stream in self._streams:
                stream.end_line()
            self._current = None
            self._local.current = None

    def capture_streams(self) -> None:
        """Take over ``sys.stdout``, ``sys.stderr`` and the root logger."""
        stdout = LineStream(self, "stdout", sys.stdout)
        stderr = LineStream(self, "stderr", sys.stderr)
        self._streams = [stdout, stderr]
        sys.stdout, sys.stderr = stdout, stderr
        root = logging.getLogger()
        root.addHandler(ChannelHandler(self))
        root.setLevel(logging.INFO)

    def capture_loguru(self) -> None:
        """Take over loguru's default sink, if the module uses loguru and has not set up its own."""
        if "loguru" not in sys.modules:
            return
        from loguru import logger

        # Sink 0 is the one that loguru makes at import; an author who removed it has their own.
        with suppress(ValueError):
            logger.remove(0)
            logger.add(self._on_loguru, level="DEBUG", format="{message}")

    def _on_loguru(self, message: Any) -> None:
        record = message.record
        exception = record["exception"]
        text = None
        if exception is not None and exception.value is not None:
            text = "".join(
                traceback.format_exception(exception.type, exception.value, exception.traceback)
            ).rstrip()
        self.send(
            record["level"].name,
            record["name"] or "loguru",
            record["message"],
            seconds=record["time"].timestamp(),
            exception=text,
            fields=record["extra"],
        )

    def on_metric_warning(self, fields: Mapping[str, str]) -> None:
        """Log a warning of the metrics recorder with its structured fields."""
        if fields.get("reason") == "label_sets_exceeded":
            # Said by the supervisor, once for all slots.
            return
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        self.send("WARNING", "perago.metrics", text, fields=fields)

    def send(
        self,
        level: str,
        source: str,
        message: str,
        *,
        seconds: float | None = None,
        exception: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Send one line. A supervisor that is gone is noticed elsewhere; a body never fails for its log."""
        encoded = json.dumps(dict(fields), default=str) if fields else None
        attempt = self._current if self._shared else getattr(self._local, "current", None)
        with suppress(OSError):
            self._channel.log(
                attempt,
                level,
                source,
                message,
                time.time() if seconds is None else seconds,
                exception,
                encoded,
            )


class LineStream(io.TextIOBase):
    """A text stream that sends whole lines to the worker's log."""

    def __init__(self, log: BodyLog, source: str, original: TextIO) -> None:
        super().__init__()
        self._log = log
        self._source = source
        self._original = original
        self._pending = threading.local()

    def write(self, text: str) -> int:
        """Take text; every finished line is sent."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        *lines, rest = (getattr(self._pending, "text", "") + text).split("\n")
        self._pending.text = rest
        for line in lines:
            if line.strip():
                self._log.send("INFO", self._source, line)
        return len(text)

    def end_line(self) -> None:
        """Send what this thread has written without a line end."""
        if getattr(self._pending, "text", ""):
            self.write("\n")

    def flush(self) -> None:
        """Nothing to do: whole lines are sent at once, and half a line waits for its end."""

    def writable(self) -> bool:
        """Whether the stream can be written: always."""
        return True

    def isatty(self) -> bool:
        """Whether the stream is a terminal: never."""
        return False

    def fileno(self) -> int:
        """Return the descriptor of the process's own stream, for programs that a body starts."""
        return self._original.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the process's own stream."""
        return self._original.encoding

    @property
    def buffer(self) -> io.BufferedWriter:
        """The binary stream below; what is written there is captured line by line too."""
        return self._original.buffer  # type: ignore[return-value]


class ChannelHandler(logging.Handler):
    """Sends records of ``logging`` to the worker's log."""

    def __init__(self, log: BodyLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; fields given as ``extra`` become fields of the line."""
        try:
            exception = None
            if record.exc_info and record.exc_info[1] is not None:
                exception = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            fields = {
                name: value for name, value in record.__dict__.items() if name not in _STANDARD_RECORD_FIELDS
            }
            self._log.send(
                record.levelname,
                record.name,
                record.getMessage(),
                seconds=record.created,
                exception=exception,
                fields=fields,
            )
        except Exception:
            self.handleError(record)
