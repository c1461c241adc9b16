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
    from collections.abc import Callable
    from types import FrameType
    from typing import TypeAlias

    from perago._attempt import Runner
    from perago._body_log import BodyLog
    from perago._cancellation import Cancellation
    from perago._native import AttemptAssignment
    from perago.errors import TaskCancelled
    from perago.metrics import MetricRecorder
    from perago.models import MetricSpec

    _Outcome: TypeAlias = tuple[str, bytes | str, str]
    _Run: TypeAlias = Callable[[int, Callable[[], _Outcome]], _Outcome | TaskCancelled]


def main() -> None:
    """Run the executor; returns when the supervisor wants no more attempts."""
    from perago._cancellation import Cancellation

    channel = Channel()
    cancellation = Cancellation(channel)
    _let_the_supervisor_decide(cancellation)
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
    from perago._code import code_hash

    description["code_hash"] = code_hash(channel.module_target, description["task"])
    recorder = _open_recorder(channel, log, definition.name, definition.metrics)
    runner = Runner(definition)
    channel.ready(json.dumps(description))
    executor = Executor(channel, runner, recorder, log, cancellation)
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


def _let_the_supervisor_decide(cancellation: Cancellation) -> None:
    """Ignore the signals that stop a worker, hear the one that stops a body; neither in what a body starts.

    A service manager sends SIGTERM to every process of the worker; the supervisor lets running bodies end. A
    Python handler, unlike SIG_IGN, is not inherited by a program that the body executes. A forked child
    gets the usual handlers back: a pool of processes ends its children by SIGTERM and waits for their end.
    """

    def ignore(signal_number: int, frame: FrameType | None) -> None:
        del signal_number, frame

    ours: dict[int, Any] = {
        signal.SIGTERM: ignore,
        signal.SIGINT: ignore,
        signal.SIGHUP: ignore,
        Channel.CANCEL_SIGNAL: cancellation.on_signal,
    }
    usual = {signal_number: signal.signal(signal_number, handler) for signal_number, handler in ours.items()}
    # The process that starts executors blocks signals; programs that a body starts would inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _restore_in_forked_children(usual, ours)


def _restore_in_forked_children(usual: dict[int, Any], ours: dict[int, Any]) -> None:
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
            if signal.getsignal(signal_number) is ours[signal_number]:
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


def _run_uncancelled(attempt: int, body: Callable[[], _Outcome]) -> _Outcome:
    """Call a body that shares its process with others: it is not cancelled."""
    del attempt
    return body()


class Executor:
    """Runs assignments with one runner and one recorder."""

    def __init__(
        self,
        channel: Channel,
        runner: Runner,
        recorder: MetricRecorder | None,
        log: BodyLog,
        cancellation: Cancellation,
    ) -> None:
        self._cancellation = cancellation
        self._channel = channel
        self._runner = runner
        self._recorder = recorder
        self._log = log

    def serve(self) -> None:
        """Run assignments one after the other on this thread, until there are no more."""
        while (assignment := self._channel.receive()) is not None:
            self._run(assignment, self._cancellation.run)

    def serve_in_threads(self, threads: int) -> None:
        """Run up to ``threads`` assignments at once, each on a thread of its own."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(threads, thread_name_prefix="perago-slot") as pool:
            while (assignment := self._channel.receive()) is not None:
                pool.submit(self._run_in_thread, assignment)

    def _run_in_thread(self, assignment: AttemptAssignment) -> None:
        """Run one assignment; a body that asks the process to exit fails alone."""
        try:
            self._run(assignment, _run_uncancelled)
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

    def _run(self, assignment: AttemptAssignment, run: _Run) -> None:
        attempt = assignment.attempt
        exceptions: list[str] = []

        def body() -> _Outcome:
            return self._runner.run(
                assignment.params,
                self._recorder,
                assignment.workspace,
                on_exception=lambda text: exceptions.append(text),
            )

        with self._log.attempt(attempt):
            started = time.perf_counter()
            outcome = run(attempt, body)
            seconds = time.perf_counter() - started
        if isinstance(outcome, BaseException):
            # For nobody, unless the body has raised it without being told to stop.
            reason = f"{type(outcome).__name__}: {outcome}"
            self._channel.failed(attempt, False, "body_raised", reason, seconds, None)
            return
        status, content, code = outcome
        if status == "COMPLETED":
            assert isinstance(content, bytes)
            self._channel.completed(attempt, content, seconds)
        else:
            assert isinstance(content, str)
            terminal = status == "FAILED_WITH_TERMINAL_ERROR"
            exception = exceptions[0] if exceptions else None
            self._channel.failed(attempt, terminal, code, content, seconds, exception)


__all__ = ["Executor", "main"]
