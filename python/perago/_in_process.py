"""One attempt in the process of the command line: ``perago run --in-process``.

Standard input and output stay as they are, so that a debugger can use them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from perago.metrics import MetricRecorder
    from perago.task import TaskDefinition

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Session:
    """An author's module, imported in this process.

    Args:
        module_target: The module as Python imports it.
        environment: Variables that an executor would have.

    Raises:
        KeyboardInterrupt: Somebody stopped the import.

    """

    description: str
    """What an executor would say of the module, as JSON."""

    def __init__(self, module_target: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        # Appended, as in an executor: a file of the author must never hide a module of the standard library.
        sys.path.append(str(Path.cwd()))
        _log_to_standard_error()
        with _interruptible():
            from perago._describe import describe_and_load

            description, self._definition = describe_and_load(module_target)
        self.description = json.dumps(description)

    def run(
        self, params: bytes, workspace: Path | None, arena: Path
    ) -> tuple[bytes | str, str, float, str | None]:
        """Run the body once.

        Args:
            params: The parameters as JSON.
            workspace: The directory of a workspace task.
            arena: The file that samples of a task with metrics go to.

        Returns:
            The result as JSON or the reason of a failure, its code, how long the body took in seconds, and
            the exception of the body with its traceback.

        Raises:
            KeyboardInterrupt: Somebody stopped the body, or left the debugger.

        """
        assert self._definition is not None, "a module that cannot be used is not run"
        from perago._attempt import Runner

        runner = Runner(dataclasses.replace(self._definition, fn=_left_by_quit(self._definition.fn)))
        recorder = _open_recorder(self._definition, arena)
        exceptions: list[str] = []
        started = time.perf_counter()
        with _interruptible():
            try:
                _, content, code = runner.run(params, recorder, workspace, on_exception=exceptions.append)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                from perago._tracebacks import format_author_exception

                content, code = (
                    f"the body raised {type(error).__name__}, which ends its process",
                    "executor_exited",
                )
                exceptions.append(format_author_exception(error))
        seconds = time.perf_counter() - started
        return content, code, seconds, exceptions[0] if exceptions else None


def _log_to_standard_error() -> None:
    """Show what is logged from level INFO up, which is what a worker collects."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _open_recorder(definition: TaskDefinition, arena: Path) -> MetricRecorder | None:
    if definition.metrics is None:
        return None
    from perago._native import open_recorder

    return open_recorder(
        arena, definition.name, buckets=definition.metrics.buckets, warning=_on_metric_warning
    )


def _on_metric_warning(fields: Mapping[str, str]) -> None:
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    logging.getLogger("perago.metrics").warning(text)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a signal end what runs with a KeyboardInterrupt; whoever called puts its own handlers back."""
    for signal_number in _STOPPING:
        signal.signal(signal_number, signal.default_int_handler)
    try:
        yield
    finally:
        # Our own output follows, past Python's buffers.
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()


def _left_by_quit(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the body, for which leaving the debugger with ``quit`` is no failure but the end of the run."""

    @functools.wraps(fn)
    def body(*arguments: Any) -> Any:
        try:
            return fn(*arguments)
        except Exception as error:
            debugger = sys.modules.get("bdb")
            if debugger is not None and isinstance(error, debugger.BdbQuit):
                raise KeyboardInterrupt from None
            raise

    return body


__all__ = ["Session"]
