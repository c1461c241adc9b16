"""Objects of a store: writes, reads, ranges, conditions, deletions, names."""

from __future__ import annotations

import hashlib

import pytest

from support.lake import Lake, at_once, send

NAMES = [
    "a b",
    "ü/ñ",
    "100%/a%20b",
    "plus+sign",
    "a&b=c;d",
    "q?x#y",
    "/lead",
    "trail/",
    "a//b",
    "a/../b",
    "😀",
    "x" * 1024,
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_reads_back(lake: Lake, name: str) -> None:
    written = lake.put("main", name, f"<{name}>")
    assert written.status == 201
    assert written.json["checksum"] == hashlib.md5(f"<{name}>".encode()).hexdigest()
    assert lake.get("main", name).body == f"<{name}>".encode()
    assert lake.tree() == {name: written.json["checksum"]}


def test_a_name_has_at_most_1024_bytes(lake: Lake) -> None:
    assert lake.put("main", "x" * 1025, "x").status == 400
    assert lake.put("main", "é" * 513, "x").status == 400


def test_ranges_are_clipped_or_refused(lake: Lake) -> None:
    lake.put("main", "a", "0123456789")
    for header, status, body in [
        ("bytes=1-2", 206, b"12"),
        ("bytes=7-99", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=7-", 206, b"789"),
    ]:
        answer = lake.get("main", "a", range=header)
        assert (answer.status, answer.body) == (status, body)
    beyond = lake.get("main", "a", range="bytes=10-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")
    assert lake.get("main", "a", range="items=0-1").status == 400
    etag = lake.get("main", "a").headers["etag"]
    assert lake.get("main", "a", if_none_match=etag).status == 304


def test_a_large_object_streams_through(lake: Lake) -> None:
    content = bytes(range(256)) * 40_000
    written = lake.put("main", "large", content)
    assert written.json["size_bytes"] == len(content)
    assert lake.get("main", "large").body == content
    assert lake.get("main", "large", range="bytes=9999999-10000002").body == content[9999999:10000003]


def test_only_one_conditional_upload_wins(lake: Lake) -> None:
    statuses = at_once(8, lambda number: lake.put("main", "race", f"{number}", if_none_match="*"))
    assert statuses == [201] + [412] * 7
    assert lake.put("main", "race", "x", if_match="*").status == 501


def test_a_deletion_is_staged_until_committed(lake: Lake) -> None:
    lake.put("main", "a", "1")
    lake.put("main", "b", "2")
    lake.commit("main")
    bulk = lake.here("POST", "/branches/main/objects/delete", {"paths": ["a", "absent"]})
    assert (bulk.status, bulk.json) == (200, {"errors": []})
    assert lake.get("main", "a").status == 404
    assert lake.get("main@", "a").status == 200
    assert lake.staged() == {"a": "removed"}
    too_many = lake.here("POST", "/branches/main/objects/delete", {"paths": [str(n) for n in range(1001)]})
    assert (too_many.status, too_many.message) == (400, "request size exceeded, max paths is set to 1000")


def test_equal_content_is_no_change(lake: Lake) -> None:
    lake.put("main", "a", "1")
    lake.commit("main")
    lake.put("main", "a", "1")
    assert lake.staged() == {}
    assert lake.commit("main").message == "commit: no changes"
    lake.put("main", "a", "1", content_type="text/csv")
    assert lake.staged() == {"a": "changed"}
    lake.put("main", "a", "1", x_lakefs_meta_k="v")
    assert lake.here("GET", "/refs/main/objects/stat", path="a").json["metadata"] == {"k": "v"}


def test_prefixes_are_text_and_delimiters_make_folders(lake: Lake) -> None:
    for path in ("audio/1", "audio/sub/2", "audio2/3", "b"):
        lake.put("main", path, path)
    page = lake.here("GET", "/refs/main/objects/ls", prefix="audio").json
    assert [row["path"] for row in page["results"]] == ["audio/1", "audio/sub/2", "audio2/3"]
    page = lake.here("GET", "/refs/main/objects/ls", delimiter="/").json
    assert [(row["path"], row["path_type"]) for row in page["results"]] == [
        ("audio/", "common_prefix"),
        ("audio2/", "common_prefix"),
        ("b", "object"),
    ]


def test_signed_urls_read_and_write(lake: Lake) -> None:
    lake.put("main", "a", "0123456789")
    stat = lake.here("GET", "/refs/main/objects/stat", path="a", presign="true")
    if not lake.signs:
        assert (stat.status, lake.here("POST", "/branches/main/staging/pmpu", path="p").status) == (400, 501)
        return
    url = stat.json["physical_address"]
    assert send("GET", url).body == b"0123456789"
    assert send("GET", url, headers={"range": "bytes=2-4"}).body == b"234"
    assert send("GET", url + "0").status == 403
    assert send("PUT", url, b"x").status == 403
    backing = lake.here("GET", "/branches/main/staging/backing", path="p", presign="true").json
    assert (
        send("PUT", backing["presigned_url"], b"hello").headers["etag"]
        == '"5d41402abc4b2a76b9719d911017c592"'
    )
    assert lake.get("main", "p").status == 404
    link = {
        "staging": {"physical_address": backing["physical_address"]},
        "checksum": "5d41402abc4b2a76b9719d911017c592",
        "size_bytes": 5,
    }
    assert lake.here("PUT", "/branches/main/staging/backing", link, path="other").status == 400
    assert lake.here("PUT", "/branches/main/staging/backing", link, path="p").status == 200
    assert lake.get("main", "p").body == b"hello"


def test_parts_become_one_object(lake: Lake) -> None:
    if not lake.storage["pre_sign_multipart_upload"]:
        assert lake.here("POST", "/branches/main/staging/pmpu", path="p", parts=2).status == 501
        return
    start = lake.here("POST", "/branches/main/staging/pmpu", path="p", parts=2).json
    contents = (b"A" * 5_242_880, b"B" * 1000)
    parts = [
        {"part_number": number, "etag": send("PUT", url, content).headers["etag"]}
        for number, (url, content) in enumerate(zip(start["presigned_urls"], contents, strict=True), 1)
    ]
    body = {"physical_address": start["physical_address"], "parts": parts}
    done = lake.here("PUT", f"/branches/main/staging/pmpu/{start['upload_id']}", body, path="p")
    assert done.json["checksum"] == "4b6d33fe448ab13e30c721ebec088267-2"
    assert lake.get("main", "p", range="bytes=5242878-5242881").body == b"AABB"
