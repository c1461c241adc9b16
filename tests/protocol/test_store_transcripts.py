"""The embedded store answers as a recorded real lakeFS did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.fixtures import embedded_server

from .transcript import Replay

RECORDED = Path(__file__).resolve().parents[1] / "fixtures" / "lakefs"
KEY = "perago-dev"
# Steps in which the embedded store differs on purpose.
KNOWN = {
    ("staging-unsupported", "stage object"): "a deprecated call: 501",
    ("s3-presign-write", "stage object, deprecated"): "a deprecated call: 501",
    ("s3-presign-read", "follow it, empty"): "an empty body has no content type of its own",
    ("s3-presign-read", "follow with a range beyond"): "the length of a refusal",
    ("s3-config", "storage"): "nothing can be imported",
    ("s3-config", "config"): "nothing can be imported",
    ("s3-presign-multipart", "complete again"): "words of the object store below the recorded server",
    ("s3-presign-multipart", "abort again"): "words of the object store below the recorded server",
    ("s3-presign-multipart", "complete after abort"): "words of the object store below the recorded server",
    ("s3-presign-multipart", "complete with a wrong etag"): "refused, as AWS does",
    ("s3-presign-multipart", "unknown upload"): "words of the object store below the recorded server",
    ("merge-concurrent", "d4 log"): "one id needs two merges within one second",
}


@pytest.mark.parametrize("scenario", sorted(path.stem for path in RECORDED.glob("*.json")))
def test_answers_are_those_of_the_real_server(scenario: str) -> None:
    exchanges = json.loads((RECORDED / f"{scenario}.json").read_text(encoding="utf-8"))
    kind = "s3" if scenario.startswith("s3-") else "local"
    with embedded_server("--object-store", kind) as url:
        replay = Replay(url, KEY, KEY)
        problems = [
            problem
            for exchange in exchanges
            for problem in replay.step(exchange, (scenario, exchange["step"]) in KNOWN)
        ]
    assert not problems, "\n".join(problems)


def test_the_known_differences_are_recorded_steps() -> None:
    for scenario, step in KNOWN:
        exchanges = json.loads((RECORDED / f"{scenario}.json").read_text(encoding="utf-8"))
        assert step in {exchange["step"] for exchange in exchanges}
