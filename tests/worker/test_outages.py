"""An outage of three response timeouts: all bodies run on, and afterwards those publish that are ours."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.conductor import Conductor
from support.proxy import Proxy
from support.waiting import until
from support.workshop import BASE, Store, Workshop, workspace_input

RESPONSE_SECONDS = 2


@pytest.mark.timeout(120)
def test_after_an_outage_exactly_those_publish_that_are_still_ours(embedded_url: str, tmp_path: Path) -> None:
    direct = Conductor(f"{embedded_url}/api", "embedded")
    folders = {name: tmp_path / name for name in ("ours", "ours-late", "retried", "retried-late", "ended")}
    for folder in folders.values():
        folder.mkdir()
    definition = {"responseTimeoutSeconds": RESPONSE_SECONDS, "retryCount": 1, "retryDelaySeconds": 600}
    with (
        Proxy(direct.url) as proxy,
        Workshop(
            tmp_path / "shop", Conductor(proxy.url, "embedded"), Store(embedded_url),
            definition=definition, slots=len(folders),
        ) as shop,
    ):  # fmt: skip
        repository = shop.repository()
        runs = {}
        for name, folder in folders.items():
            assert repository.branch(name, repository.input).status == 201
            params = {"action": "gate", "folder": str(folder), "write": {"made": name}}
            runs[name] = direct.start(shop.task, params, workspace_input(repository, name))
        # Tasks of a paused run do not time out; those of the others do while their worker cannot be reached.
        for name in ("ours", "ours-late"):
            direct.call("PUT", f"/workflow/{runs[name]}/pause")
        until(lambda: all(list(folder.glob("started-*")) for folder in folders.values()), "every body")
        at_work = {process.pid for process in shop.worker.executors()}
        proxy.cut()
        gone = time.monotonic()
        direct.terminate(runs["ended"])
        for name in ("retried", "retried-late"):
            until(lambda run=runs[name]: len(direct.workflow(run)["tasks"]) == 2, f"the retry of {name}", 30)
        # Two bodies end while the server is away, and have to wait with what they want to publish.
        for name in ("ours", "retried"):
            (folders[name] / "go").touch()
        until(lambda: time.monotonic() - gone > 3 * RESPONSE_SECONDS, "three response timeouts")
        assert {process.pid for process in shop.worker.executors()} == at_work
        assert shop.worker.records("task_lost") == []
        assert repository.log("ours") == []
        proxy.restore()
        until(lambda: len(shop.worker.records("task_lost")) == 3, "the losses", 30)
        (folders["ours-late"] / "go").touch()
        for name in ("ours", "ours-late"):
            until(
                lambda run=runs[name]: direct.last_task(run)["status"] == "COMPLETED",
                f"the end of {name}",
                30,
            )
            direct.call("PUT", f"/workflow/{runs[name]}/resume")
            assert direct.wait(runs[name])["status"] == "COMPLETED"
            assert repository.files(name) == {**BASE, "in/made": name}
        for name in ("retried", "retried-late", "ended"):
            assert repository.log(name) == []
            assert repository.files(name) == BASE
        lost = {record["workflow_instance_id"] for record in shop.worker.records("task_lost")}
        assert lost == {runs[name] for name in ("retried", "retried-late", "ended")}
        for name in ("retried", "retried-late"):
            direct.terminate(runs[name])
        until(lambda: set(repository.branches()) == {"main", *folders}, "the end of staging branches", 10)
