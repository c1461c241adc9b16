"""A store that drops, delays, damages and refuses, and one that goes away: a clear failure or success."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.fixtures import embedded_server
from support.conductor import Conductor
from support.faults import (
    ALL,
    CLEAN,
    DIRECT_UPLOAD,
    LIST,
    READ,
    READ_MERGE,
    SERVER_UPLOAD,
    Action,
    Call,
    Script,
    altered,
    damaged,
    drop,
    stalled,
    storm,
    truncated,
)
from support.proxy import Answer, Exchange
from support.waiting import until
from support.workshop import BASE, Store, Workshop, attempts, real_store

LARGE = "0123456789abcdef" * 20_000
EDITS = {"a": "changed", "new/large": LARGE}
WANTED = {name: content for name, content in BASE.items() if name != "in/b"}
WANTED.update({f"in/{name}": content for name, content in EDITS.items()})

# Retried at once, and oftener than a slow test lasts: retries while the store is away do not matter.
RETRIED = {"retryCount": 100, "retryDelaySeconds": 0}


@pytest.fixture(scope="module")
def engine(embedded_url: str) -> Conductor:
    return Conductor(f"{embedded_url}/api", "embedded")


@pytest.fixture(scope="module", params=["s3", "local", pytest.param("real", marks=pytest.mark.lakefs)])
def open_shop(
    request: pytest.FixtureRequest,
    engine: Conductor,
    embedded_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Workshop]:
    """A worker over a store that signs URLs, over one where all moves through lakeFS, and over a real one."""
    root = tmp_path_factory.mktemp(request.param)
    if request.param != "local":
        store = real_store() if request.param == "real" else Store(embedded_url)
        with Workshop(root, engine, store, definition=RETRIED) as shop:
            yield shop
        return
    with (
        embedded_server("--object-store", "local") as url,
        Workshop(root, engine, url, definition=RETRIED) as shop,
    ):
        yield shop


@pytest.fixture
def shop(open_shop: Workshop) -> Workshop:
    open_shop.script.clear()
    return open_shop


@pytest.fixture
def script(shop: Workshop) -> Script:
    return shop.script


def completes(shop: Workshop) -> None:
    """Run an attempt that ends well in spite of everything, with one commit."""
    repository = shop.repository()
    task = shop.run(repository, write=EDITS, remove=["b"])
    assert (task["status"], task["retryCount"]) == ("COMPLETED", 0), task
    (commit,) = repository.log()
    assert task["outputData"]["workspace"]["ref"] == commit["id"]
    assert repository.files() == WANTED


@pytest.mark.parametrize(
    ("moment", "action", "times"),
    [("before", drop, 1), ("after", drop, 1), ("before", storm, 2)],
    ids=["lost requests", "lost replies", "storms"],
)
def test_every_call_may_fail_and_come_back(
    shop: Workshop, script: Script, moment: str, action: Action, times: int
) -> None:
    for call in ALL:
        getattr(script, moment)(call, action, times=times)
    completes(shop)
    taken = {call.name: script.taken(call) for call in ALL}
    # After a lost reply the history shows the merge commit, so that it is not read.
    wanted = {call.name: 0 if call == READ_MERGE and moment == "after" else times for call in ALL}
    assert taken == wanted


@pytest.mark.parametrize("fault", ["truncated", "stalled", "damaged"])
def test_broken_contents_are_read_again(shop: Workshop, script: Script, fault: str) -> None:
    silence = threading.Event()
    action = {"truncated": truncated, "stalled": stalled(silence), "damaged": damaged(1)}[fault]
    script.after(READ, action, times=1 if fault == "damaged" else 3)
    try:
        completes(shop)
    finally:
        silence.set()
    assert script.taken(READ) == (1 if fault == "damaged" else 3)


def test_contents_that_differ_each_time_are_corrupt(shop: Workshop, script: Script) -> None:
    patterns = iter(range(1, 100))
    script.after(READ, lambda exchange: damaged(next(patterns))(exchange), times=99)
    repository = shop.repository()
    run = shop.start(repository, write=EDITS)
    first = failed_attempt(shop, run)
    assert shop.failure(first) == ("FAILED", "workspace_corrupt")
    assert "differ from each other and from its checksum" in first["reasonForIncompletion"]
    script.clear()
    assert shop.conductor.wait_task(run)["status"] == "COMPLETED"
    shop.assert_clean(repository)


def test_a_stall_without_end_is_named(shop: Workshop, script: Script) -> None:
    silence = threading.Event()
    none = stalled(silence)
    script.after(READ, lambda exchange: _nothing(none(exchange)), times=99)
    repository = shop.repository()
    run = shop.start(repository, write=EDITS)
    try:
        first = failed_attempt(shop, run)
    finally:
        script.clear()
        silence.set()
    assert shop.failure(first) == ("FAILED", "workspace_failed")
    assert "cannot read in/" in first["reasonForIncompletion"]
    assert shop.conductor.wait_task(run)["status"] == "COMPLETED"
    shop.assert_clean(repository)


def _nothing(answer: Answer | None) -> Answer | None:
    assert answer is not None
    return Answer(answer.status, answer.body, answer.headers, 0, answer.silence)


def test_an_upload_that_arrives_damaged_is_sent_again(shop: Workshop, script: Script) -> None:
    signs = shop.repository().signs
    calls = [SERVER_UPLOAD, DIRECT_UPLOAD] if signs else [SERVER_UPLOAD]
    for call in calls:
        script.before(call, altered(shop.proxy))
    completes(shop)
    assert [script.taken(call) for call in calls] == [1] * len(calls)


def failed_attempt(shop: Workshop, run: str) -> dict[str, object]:
    """Wait for the end of a run's first attempt, which fails."""
    until(lambda: shop.conductor.workflow(run)["tasks"][0]["status"] == "FAILED", "the first failure")
    first: dict[str, object] = shop.conductor.workflow(run)["tasks"][0]
    return first


@pytest.mark.parametrize("phase", ALL, ids=lambda phase: phase.name)
def test_a_store_that_goes_away_costs_a_retry_at_most(shop: Workshop, script: Script, phase: Call) -> None:
    def away(exchange: Exchange) -> Answer | None:
        shop.proxy.cut()
        return drop(exchange)

    repository = shop.repository()
    # One store goes away with the request, the other with the reply.
    (script.before if repository.signs else script.after)(phase, away)
    run = shop.start(repository, write=EDITS, remove=["b"])
    until(lambda: shop.conductor.workflow(run)["tasks"][0]["status"] in ("FAILED", "COMPLETED"), "the end")
    first = shop.conductor.workflow(run)["tasks"][0]
    published = repository.log()
    assert len(published) <= 1
    assert repository.files() == (WANTED if published else BASE)
    script.clear()
    if phase == CLEAN:
        assert first["status"] == "COMPLETED", first
        until(lambda: not attempts(shop.worker), "the end of the directory")
        assert len(repository.branches()) == (2 if repository.signs else 1)
        return
    assert shop.failure(first) == ("FAILED", "workspace_failed")
    assert shop.proxy.url in first["reasonForIncompletion"], first
    task = shop.conductor.wait_task(run)
    assert task["status"] == "COMPLETED", task
    assert repository.files() == WANTED
    # A retry of the same changes adds no second commit, and removes what the first attempt could not.
    assert [commit["id"] for commit in repository.log()] == [task["outputData"]["workspace"]["ref"]]
    shop.assert_clean(repository)


def test_a_store_that_is_killed_and_comes_back(engine: Conductor, tmp_path: Path, folder: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    first = embedded_server(*data)
    with first as url:
        address = url.removeprefix("http://")
        with Workshop(tmp_path, engine, url, definition=RETRIED, is_direct=True) as shop:
            repository = shop.repository()
            run = shop.start(repository, action="gate", folder=str(folder), write=EDITS)
            until(lambda: list(folder.glob("started-*")), "the body")
            first.process.kill()
            first.process.wait()
            (folder / "go").touch()
            task = failed_attempt(shop, run)
            assert shop.failure(task) == ("FAILED", "workspace_failed")
            assert f"http://{address}" in str(task["reasonForIncompletion"])
            again = embedded_server(*data)
            again.command[again.command.index("127.0.0.1:0")] = address
            with again:
                last = shop.conductor.wait_task(run)
                assert last["status"] == "COMPLETED", last
                assert repository.files() == {**BASE, **{f"in/{name}": text for name, text in EDITS.items()}}
                shop.assert_clean(repository)


def test_an_object_store_out_of_reach_is_left_for_lakefs(
    engine: Conductor, embedded_url: str, tmp_path: Path
) -> None:
    with Workshop(tmp_path, engine, embedded_url) as shop:
        nowhere = unused_address()

        def elsewhere(exchange: Exchange) -> Answer | None:
            here = shop.proxy.url.removeprefix("http://").encode()
            body = exchange.answer.replace(here + b"/object-store", nowhere + b"/object-store")
            return Answer(exchange.status, body, exchange.answer_headers)

        shop.script.after(LIST, elsewhere, times=99)
        completes(shop)
        (warning,) = shop.worker.records("lakefs_warning")
        assert "cannot be reached from here" in warning["message"]
        assert "X-Amz" not in json.dumps(shop.worker.records())
        assert shop.proxy.seen("GET", "/object-store") == shop.proxy.seen("PUT", "/object-store") == []


def unused_address() -> bytes:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}".encode()
