"""The executor: the process that imports the author's module and runs its body.

Started by the supervisor with a channel on an inherited descriptor. Says what the module declares, then runs
one assignment after the other (or several at once in thread mode) until the supervisor wants no more.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perago._native import Channel

if TYPE_CHECKING:
    from types import FrameType

    from perago._attempt import Runner
    from perago._body_log import BodyLog
    from perago._native import AttemptAssignment
    from perago.metrics import MetricRecorder
    from perago.models import MetricSpec


def main() -> None:
    """Run the executor; returns when the supervisor wants no more attempts."""
    channel = Channel()
    _let_the_supervisor_decide()
    # Appended: a file of the author must never hide a module of the standard library or of ours.
    sys.path.append(str(Path.cwd()))
    if channel.describe_only:
        _describe_only(channel)
        return
    from perago._body_log import BodyLog

    log = BodyLog(channel)
    log.capture_streams()
    from perago._describe import describe_and_load

    description, definition = describe_and_load(channel.module_target)
    if definition is None:
        channel.unready(json.dumps(description))
        return
    log.capture_loguru()
    from perago._attempt import Runner

    recorder = _open_recorder(channel, log, definition.name, definition.metrics)
    runner = Runner(definition)
    channel.ready(json.dumps(description))
    executor = Executor(channel, runner, recorder, log)
    if channel.threads == 1:
        executor.serve()
    else:
        executor.serve_in_threads(channel.threads)


def _describe_only(channel: Channel) -> None:
    from perago._describe import describe_module

    description = describe_module(channel.module_target)
    # The command line ends this process as soon as it has the description.
    sys.stdout.flush()
    sys.stderr.flush()
    channel.ready(json.dumps(description))


def _let_the_supervisor_decide() -> None:
    """Ignore the signals that stop a worker, but not in the processes that a body starts.

    A service manager sends SIGTERM to every process of the worker; the supervisor lets running bodies end. A
    Python handler, unlike SIG_IGN, is not inherited by a program that the body executes. A forked child
    gets the usual handlers back: a pool of processes ends its children by SIGTERM and waits for their end.
    """

    def ignore(signal_number: int, frame: FrameType | None) -> None:
        del signal_number, frame

    usual = {
        signal_number: signal.signal(signal_number, ignore)
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    # The process that starts executors blocks signals; programs that a body starts would inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _restore_in_forked_children(usual, ignore)


def _restore_in_forked_children(usual: dict[signal.Signals, Any], ours: Any) -> None:
    """Give a forked child the handlers in ``usual`` in place of ``ours``.

    Signals wait from the fork until that is done: one that came in between would be ignored.
    """
    mask = threading.local()

    def before() -> None:
        mask.usual = signal.pthread_sigmask(signal.SIG_BLOCK, usual)

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.usual)

    def in_child() -> None:
        for signal_number, handler in usual.items():
            if signal.getsignal(signal_number) is ours:
                signal.signal(signal_number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.usual)

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _open_recorder(
    channel: Channel, log: BodyLog, task_name: str, metrics: MetricSpec | None
) -> MetricRecorder | None:
    if metrics is None:
        return None
    from perago._native import DisabledRecorder, open_recorder

    if channel.arena is None:
        return DisabledRecorder()
    return open_recorder(
        channel.arena,
        task_name,
        reserved_labels=channel.resource_attribute_keys,
        buckets=metrics.buckets,
        warning=log.on_metric_warning,
    )


class Executor:
    """Runs assignments with one runner and one recorder."""

    def __init__(
        self, channel: Channel, runner: Runner, recorder: MetricRecorder | None, log: BodyLog
    ) -> None:
        self._channel = channel
        self._runner = runner
        self._recorder = recorder
        self._log = log

    def serve(self) -> None:
        """Run assignments one after the other on this thread, until there are no more."""
        while (assignment := self._channel.receive()) is not None:
            self._run(assignment)

    def serve_in_threads(self, threads: int) -> None:
        """Run up to ``threads`` assignments at once, each on a thread of its own."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(threads, thread_name_prefix="perago-slot") as pool:
            while (assignment := self._channel.receive()) is not None:
                pool.submit(self._run_in_thread, assignment)

    def _run_in_thread(self, assignment: AttemptAssignment) -> None:
        """Run one assignment; a body that asks the process to exit fails alone."""
        try:
            self._run(assignment)
        except BaseException as error:
            from perago._tracebacks import format_author_exception

            self._channel.failed(
                assignment.attempt,
                False,
                "executor_exited",
                f"the body raised {type(error).__name__}, which does not end a worker in thread mode",
                0.0,
                format_author_exception(error),
            )

    def _run(self, assignment: AttemptAssignment) -> None:
        attempt = assignment.attempt
        exceptions: list[str] = []
        with self._log.attempt(attempt):
            started = time.perf_counter()
            status, content, code = self._runner.run(
                assignment.params,
                self._recorder,
                assignment.workspace,
                on_exception=lambda text: exceptions.append(text),
            )
            seconds = time.perf_counter() - started
        if status == "COMPLETED":
            assert isinstance(content, bytes)
            self._channel.completed(attempt, content, seconds)
        else:
            assert isinstance(content, str)
            terminal = status == "FAILED_WITH_TERMINAL_ERROR"
            exception = exceptions[0] if exceptions else None
            self._channel.failed(attempt, terminal, code, content, seconds, exception)


__all__ = ["Executor", "main"]
