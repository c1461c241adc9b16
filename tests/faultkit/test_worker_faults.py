"""A worker under each kind of fault at each of its services: nothing is lost, nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from perago.testing import EmbeddedServices, ScriptedFault, WorkerProcess
from support.metrics import MetricStore, value_is
from support.waiting import until

Script = Callable[..., ScriptedFault]

RESPONSE_TIMEOUT_SECONDS = 600
FILES: dict[str, str | bytes] = {"in/a": "one", "in/old": "two", "out": "three"}
# Large enough to be moved directly to the object store; the other changed file goes through the server.
LARGE = "0123456789abcdef" * 20_000
# What one publication asks of its store.
PUBLICATION = (
    "list_objects",
    "get_object",
    "list_branches",
    "log",
    "create_branch",
    "upload_object",
    "get_upload_address",
    "put_object",
    "link_object",
    "delete_objects",
    "commit",
    "merge",
    "delete_branch",
)


def drop_request(services: EmbeddedServices, call: str, **which: int) -> ScriptedFault:
    return services.faults.drop_request(call, **which)


def drop_reply(services: EmbeddedServices, call: str, **which: int) -> ScriptedFault:
    return services.faults.drop_reply(call, **which)


def reset(services: EmbeddedServices, call: str, **which: int) -> ScriptedFault:
    return services.faults.reset(call, **which)


def delay(services: EmbeddedServices, call: str, **which: int) -> ScriptedFault:
    return services.faults.delay(call, 0.05, **which)


def delay_reply(services: EmbeddedServices, call: str, **which: int) -> ScriptedFault:
    return services.faults.delay_reply(call, 0.05, **which)


def refuse(services: EmbeddedServices, call: str, **which: int) -> ScriptedFault:
    return services.faults.status(call, 503, '{"message":"later"}', **which)


def truncate(services: EmbeddedServices, call: str, **which: int) -> ScriptedFault:
    return services.faults.truncate(call, 0, **which)


KINDS = (drop_request, drop_reply, reset, delay, delay_reply, refuse, truncate)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def plain(services: EmbeddedServices) -> Iterator[WorkerProcess]:
    """A worker of the task that keeps a ledger."""
    limits = {"retryCount": 3, "retryDelaySeconds": 0, "responseTimeoutSeconds": RESPONSE_TIMEOUT_SECONDS}
    services.define("ledger_task", **limits)
    variables = {"PERAGO_POLL_TIMEOUT": "100ms", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    with services.worker("ledger_task", host="plain", **variables) as worker:
        yield worker


@pytest.fixture(scope="module")
def editing(services: EmbeddedServices) -> Iterator[WorkerProcess]:
    """A worker of the task that edits a workspace."""
    with services.worker("edit_task", host="editing", PERAGO_POLL_TIMEOUT="100ms") as worker:
        yield worker


@every_kind
def test_updates(services: EmbeddedServices, plain: WorkerProcess, kind: Script, tmp_path: Path) -> None:
    fault = kind(services, "update_task", first=2)
    run = services.start("ledger_task", {"ledger": str(tmp_path / "ledger"), "text": "t"})
    fault.wait()
    done = services.wait(run)
    assert (done.status, done.result, len(done.attempts)) == ("COMPLETED", {"text": "t"}, 1)
    assert (tmp_path / "ledger").read_text() == "t\n"


@every_kind
def test_polls(services: EmbeddedServices, plain: WorkerProcess, kind: Script, tmp_path: Path) -> None:
    with kind(services, "poll") as fault:
        fault.wait()
        run = services.start("ledger_task", {"ledger": str(tmp_path / "ledger"), "text": "t"})
        if kind in (drop_reply, truncate):
            # Claimed, and nobody knows of it: the server alone can end the claim.
            until(lambda: services.conductor.last_task(run)["status"] == "IN_PROGRESS", "a claim")
    if kind in (drop_reply, truncate):
        services.advance(RESPONSE_TIMEOUT_SECONDS + 1)
    done = services.wait(run)
    assert (done.status, done.result) == ("COMPLETED", {"text": "t"})
    assert [one["status"] for one in done.attempts[:-1]] == ["TIMED_OUT"] * (kind in (drop_reply, truncate))
    assert (tmp_path / "ledger").read_text() == "t\n"


@every_kind
def test_pushes(services: EmbeddedServices, plain: WorkerProcess, kind: Script, tmp_path: Path) -> None:
    store = MetricStore(services.url)
    text = f"under {kind.__name__}"
    fault = kind(services, "push_metrics", first=2)
    run = services.start("ledger_task", {"ledger": str(tmp_path / "ledger"), "text": text})
    assert services.wait(run).status == "COMPLETED"
    fault.wait()
    value_is(store, 1, "app.notes_count", text=text)


@every_kind
def test_publications(services: EmbeddedServices, editing: WorkerProcess, kind: Script) -> None:
    repository = services.repository(FILES)
    with ExitStack() as faults:
        met = {call: faults.enter_context(kind(services, call, nth=1)) for call in PUBLICATION}
        run = services.start("edit_task", {"text": "t", "made": LARGE}, repository.workspace())
        done = services.wait(run)
    assert {call for call, fault in met.items() if not fault.seen} == set()
    assert (done.status, len(done.attempts)) == ("COMPLETED", 1), done.reason
    assert repository.files() == {"in/a": b"t", "in/new": LARGE.encode(), "out": b"three"}
    (commit,) = repository.commits()
    assert done.output["workspace"]["ref"] == commit["id"]
    until(lambda: repository.branches() == ["main"], "the end of staging branches")
