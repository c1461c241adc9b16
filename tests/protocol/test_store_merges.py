"""Branches, commits, merges and reverts of a store."""

from __future__ import annotations

from support.lake import Lake, at_once


def base(lake: Lake, *branches: str) -> str:
    """Commit two objects on main and branch off there; return the commit."""
    lake.put("main", "a", "base")
    lake.put("main", "b", "base")
    commit = str(lake.commit("main", "base").json["id"])
    for branch in branches:
        assert lake.branch(branch).body.decode() == commit
    return commit


def test_one_of_many_creations_wins(lake: Lake) -> None:
    base(lake)
    assert at_once(8, lambda _: lake.branch("race")) == [201] + [409] * 7


def test_concurrent_commits_lose_nothing(lake: Lake) -> None:
    lake.put("main", "a", "1")
    statuses = at_once(4, lambda number: lake.commit("main", str(number)))
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 400, 500}
    assert lake.staged() == {}
    assert list(lake.tree("main@")) == ["a"]


def test_a_plain_merge_keeps_both_sides_and_is_idempotent(lake: Lake) -> None:
    first = base(lake, "work")
    lake.put("work", "new", "n")
    work = lake.commit("work").json["id"]
    lake.put("main", "own", "o")
    own = lake.commit("main").json["id"]
    merged = lake.merge("work", message="published", metadata={"k": "v"})
    assert merged.status == 200
    commit = lake.here("GET", "/commits/main").json
    assert (commit["parents"], commit["message"]) == ([own, work], "published")
    assert commit["metadata"] == {".lakefs.merge.strategy": "default", "k": "v"}
    assert sorted(lake.tree()) == ["a", "b", "new", "own"]
    again = lake.merge("work")
    assert (again.status, again.message) == (400, "update branch main: no changes")
    log = lake.here("GET", "/refs/main/commits", first_parent="true", stop_at=first).json["results"]
    assert [row["id"] for row in log] == [commit["id"], own, first]


def test_a_squash_has_one_parent_and_is_not_idempotent(lake: Lake) -> None:
    first = base(lake, "work")
    lake.put("work", "new", "n")
    lake.commit("work")
    one = lake.merge("work", squash_merge=True).json["reference"]
    assert lake.here("GET", f"/commits/{one}").json["parents"] == [first]
    two = lake.merge("work", squash_merge=True).json["reference"]
    assert lake.here("GET", f"/commits/{two}").json["parents"] == [one]
    assert lake.diff(one, two, "two_dot") == {}


def test_conflicts_are_named_by_the_three_dot_diff(lake: Lake) -> None:
    base(lake, "work")
    lake.put("work", "a", "ours")
    lake.put("work", "new", "n")
    lake.commit("work")
    lake.put("main", "a", "theirs")
    lake.commit("main")
    head = lake.head()
    answer = lake.merge("work")
    assert (answer.status, answer.json) == (409, {"reference": ""})
    assert lake.diff("main", "work") == {"a": "conflict", "new": "added"}
    assert lake.head() == head
    assert lake.merge("work", strategy="source-wins").status == 200
    assert lake.get("main", "a").body == b"ours"


def test_a_dirty_destination_and_a_deleted_source_are_refused(lake: Lake) -> None:
    base(lake, "work")
    lake.put("work", "new", "n")
    work = lake.commit("work").json["id"]
    lake.put("main", "dirt", "d")
    assert lake.merge("work").message == "uncommitted changes (dirty branch)"
    assert lake.here("PUT", "/branches/main", {"type": "reset"}).status == 204
    assert lake.here("DELETE", "/branches/work").status == 204
    assert lake.merge("work").message == "update branch main: get commit by ref work: not found"
    assert lake.merge(work).status == 200


def test_merges_at_once_make_one_chain(lake: Lake) -> None:
    names = [f"work-{number}" for number in range(4)]
    first = base(lake, *names)
    for name in names:
        lake.put(name, name, "x")
        lake.commit(name)
    assert at_once(4, lambda number: lake.merge(names[number])) == [200] * 4
    assert sorted(lake.tree()) == sorted(["a", "b", *names])
    log = lake.here("GET", "/refs/main/commits", first_parent="true", stop_at=first).json["results"]
    assert len(log) == 5


def test_a_revert_takes_a_merge_back_once(lake: Lake) -> None:
    base(lake, "work")
    lake.put("work", "new", "n")
    lake.here("DELETE", "/branches/work/objects", path="b")
    lake.commit("work")
    merged = lake.merge("work").json["reference"]
    without = lake.here("POST", "/branches/main/revert", {"ref": merged, "parent_number": 0})
    assert without.status == 409
    body = {"ref": merged, "parent_number": 1}
    assert lake.here("POST", "/branches/main/revert", body).status == 204
    assert sorted(lake.tree()) == ["a", "b"]
    assert lake.here("POST", "/branches/main/revert", body).message == "update branch: no changes"
    assert lake.merge("work").message == "update branch main: no changes"


def test_a_hard_reset_leaves_what_is_staged(lake: Lake) -> None:
    first = base(lake)
    lake.put("main", "a", "two")
    lake.commit("main")
    lake.put("main", "staged", "s")
    assert lake.here("PUT", "/branches/main/hard_reset", ref=first).status == 204
    assert (lake.head(), lake.staged()) == (first, {"staged": "added"})


def test_references_have_modifiers(lake: Lake) -> None:
    first = base(lake)
    lake.put("main", "a", "two")
    second = lake.commit("main").json["id"]
    for reference, expected in [
        ("main", second),
        ("main@", second),
        ("main~1", first),
        ("main%5E", first),
        (second[:12], second),
        (f"{second}~", first),
    ]:
        assert lake.here("GET", f"/commits/{reference}").json["id"] == expected
    assert lake.here("GET", "/commits/main~9").status == 404
    assert lake.here("GET", "/commits/nope").message == "commit not found"


def test_a_root_that_is_not_there_says_so(lake: Lake) -> None:
    assert lake.call("GET", "/repositories/nope-nope").message == "repository not found"
    assert lake.here("GET", "/branches/nope").message == "branch not found"
    assert lake.call("GET", "/nope").message == "invalid API endpoint"
    assert lake.call("GET", "/config/storage", headers={"authorization": "Basic eDp5"}).status == 401
