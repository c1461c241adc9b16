"""Servers that want a key."""

from __future__ import annotations

import json
from pathlib import Path

from services.fixtures import embedded_server
from support.command import CommandLine
from support.conductor import Conductor
from support.proxy import Answer, Exchange, Proxy
from support.worker import Worker

SECRET = "SERVERKEY-never-shown"


def test_a_token_is_obtained_used_and_renewed(task_name: str, tmp_path: Path) -> None:
    variables = {"CONDUCTOR_AUTH_KEY": "perago-dev", "CONDUCTOR_AUTH_SECRET": SECRET}
    with embedded_server("--api-key", SECRET) as url, Proxy(url + "/api") as proxy:
        conductor = Conductor(url + "/api", "embedded", {"X-Authorization": SECRET})
        conductor.define(task_name)
        refused: list[str] = []

        def expire_once(request: Exchange) -> Answer | None:
            token = request.headers.get("x-authorization", "")
            if "/tasks/poll/" in request.path and not refused:
                refused.append(token)
                return Answer(401, b'{"error":"EXPIRED_TOKEN","status":401,"message":"Token has expired"}')
            return None

        proxy.before = expire_once
        with Worker(tmp_path / "worker", proxy.url, task_name, **variables) as worker:
            task = conductor.wait_task(conductor.start(task_name, {"action": "echo", "text": "with key"}))
            assert task["status"] == "COMPLETED"
            assert worker.stop() == 0
        exchanges = proxy.seen("POST", "/token")
        assert len(exchanges) == 2
        assert json.loads(exchanges[0].body) == {"keyId": "perago-dev", "keySecret": SECRET}
        polls = proxy.seen("GET", "/tasks/poll/")
        assert {exchange.status for exchange in polls} == {200}
        assert refused
        assert refused[0] not in {poll.headers["x-authorization"] for poll in polls}
        assert SECRET not in (tmp_path / "worker" / "stdout").read_text()


def test_a_wrong_key_is_a_clear_error(task_name: str, tmp_path: Path) -> None:
    modules = Path(__file__).parent / "modules"
    with embedded_server("--api-key", SECRET) as url:
        line = CommandLine(tmp_path)
        line.write("scenario.py", (modules / "scenario.py").read_text())
        variables = {"CONDUCTOR_SERVER_URL": url + "/api", "SUITE_TASK": task_name}
        without = line.run("start", "scenario", **variables)
        assert (without.code, without.stdout) == (1, "")
        assert without.stderr.startswith("error: failed to validate Conductor TaskDef: ")
        wrong = {"CONDUCTOR_AUTH_KEY": "perago-dev", "CONDUCTOR_AUTH_SECRET": "other-never-shown"}
        refused = line.run("start", "scenario", **variables, **wrong)
        assert (refused.code, refused.stdout) == (1, "")
        assert "401" in refused.stderr
        assert "hint: " in refused.stderr
