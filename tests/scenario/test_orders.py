"""What operators ask of the service on its machine: evidence, retries, cancels, plans, and who asked for what."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from freshline.domain.edge import Duty
from tests.scenario.said import Said
from tests.scenario.stack import Stack
from tests.servers.base import SITE, CacheServer, until
from tests.servers.origin import Origin

DEADLINES = {"FRESHLINE_DEADLINES_REFRESH_SECONDS": "1", "FRESHLINE_DEADLINES_PREFETCH_SECONDS": "600"}


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    """A task fails after a second."""
    return make_stack(DEADLINES)


@pytest.fixture
def operator(stack: Stack) -> Callable[..., Said]:
    def run(*arguments: object) -> Said:
        command = [sys.executable, "-m", "freshline", *map(str, arguments), "--data-dir", str(stack.home)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return Said(done.returncode, done.stdout, done.stderr)

    return run


def test_evidence_says_what_each_edge_was_told(
    stack: Stack, caches: list[CacheServer], origin: Origin, operator: Callable[..., Said]
) -> None:
    """For each edge: how many rows are proven, what its gate answered and when, and what a probe finds now."""
    origin.serves("/a", "v1")
    caches[0].get("/a")
    id_ = stack.refresh("/a", "/b").until_complete().id

    found = operator("evidence", id_, "--probe", "--json").json

    assert {edge["edge"] for edge in found["edges"]} == {cache.name for cache in caches}
    for edge in found["edges"]:
        assert (edge["settled"], edge["failed"], edge["open"], edge["tier"]) == (2, 0, 0, "L1")
        (piece,) = edge["said"]
        assert piece["said"].startswith("200 ok ") and piece["sent"] <= piece["answered"]
        assert edge["probed"][f"http://{SITE}/b"].startswith("absent")
    shown = operator("evidence", id_)
    assert f"task {id_}, file of {SITE}, accepted " in shown.out and "SETTLED" in shown.out
    assert "there is no task 999" in operator("evidence", "999").err


def test_edges_that_are_gone_are_told_of(
    stack: Stack, caches: list[CacheServer], origin: Origin, operator: Callable[..., Said]
) -> None:
    """One that was removed before it was done, and one that had done it; the task is Complete since nobody is left."""
    slow, done = caches
    stack.order(slow, Duty.PAUSED)
    time.sleep(0.6)
    task = stack.refresh("/a").until_process("50%")
    operator("edge", "remove", slow.name)
    until(lambda: {row["Status"] for row in task.rows()} == {"Complete"})  # it may have missed its deadline before
    operator("edge", "remove", done.name)
    until(lambda: len(operator("evidence", task.id, "--json").json["gone"]) == 2)

    found = operator("evidence", task.id, "--json").json
    assert found["edges"] == []
    stood = {each["edge"]: (each["settled"], len(each["said"])) for each in found["gone"]}
    assert stood == {slow.name: (0, 0), done.name: (1, 1)}
    shown = operator("evidence", task.id).out
    assert "every edge that took part in it was removed since" in shown and "200 ok" in shown
    assert "no edge takes part" not in shown


def test_evidence_of_many_is_counted_together(
    stack: Stack, caches: list[CacheServer], origin: Origin, operator: Callable[..., Said]
) -> None:
    """Several ids, or from one to another: rows and bytes of each edge, each task once."""
    for n in range(6):
        origin.serves(f"/{n}", "v" * (10 + n))
    ids = [stack.prefetch(f"/{n}", f"/{n + 1}").until_complete().id for n in (0, 2, 4)]
    stack.refresh("/0").until_complete()

    for asked, rows, stored in (
        ([f"{ids[0]}-{ids[2]}"], 6, 75),
        ([ids[0], ids[2]], 4, 10 + 11 + 14 + 15),
        ([f"{ids[1]}-999", ids[2], ids[2]], 5, 54),
    ):
        found = operator("evidence", *asked, "--json").json
        counted = {(edge["settled"], edge["failed"], edge["open"], edge["bytes"]) for edge in found["edges"]}
        assert (found["rows"], counted, len(found["edges"])) == (rows, {(rows, 0, 0, stored)}, len(caches))
    shown = operator("evidence", f"{ids[0]}-999")
    assert shown.out.startswith("4 tasks, 7 rows\nEDGE") and "BYTES" in shown.out

    for asked, why in ((["0"], "no task id"), (["5-3"], "no task id"), ([], "name a task"), (["x"], "no task id")):
        refused = operator("evidence", *asked)
        assert refused.code == 2 and why in refused.err
    assert "no task 900-999" in operator("evidence", "900-999").err
    assert operator("evidence", ids[0], ids[1], "--probe").code == 2


def test_what_failed_is_retried(
    stack: Stack, caches: list[CacheServer], origin: Origin, operator: Callable[..., Said]
) -> None:
    """A refresh that missed its deadline on one edge is Complete once it is asked for again and done."""
    stack.order(caches[0], Duty.PAUSED)
    time.sleep(0.6)  # the service looks at its inventory every half second
    task = stack.refresh("/a")
    task.until_failed("Internal Error")
    found = operator("evidence", task.id, "--json").json["edges"]
    assert {edge["edge"]: edge["failed"] for edge in found} == {caches[0].name: 1, caches[1].name: 0}

    stack.order(caches[0], Duty.ACTIVE)
    assert operator("retry", task.id, "--json").json == {"rows": {caches[0].name: 1}}

    task.until_complete()
    assert "nothing of it has failed" in operator("retry", task.id).err


def test_a_prefetch_is_cancelled_where_it_has_not_begun(
    stack: Stack, caches: list[CacheServer], origin: Origin, operator: Callable[..., Said]
) -> None:
    """The edge that has it keeps it; the one that was not told never asks for it."""
    origin.serves("/a", "v1")
    stack.order(caches[0], Duty.PAUSED)
    time.sleep(0.6)
    task = stack.prefetch("/a")
    until(lambda: {row["Process"] for row in task.rows()} == {"50%"})

    assert operator("cancel", task.id, "--json").json == {"rows": {caches[0].name: 1}}
    task.until_failed("Canceled")
    stack.order(caches[0], Duty.ACTIVE)
    stack.refresh("/other").until_complete()
    assert origin.asked("/a") == 1
    refresh = stack.refresh("/a").until_complete()
    assert "what is stale cannot be left stale" in operator("cancel", refresh.id).err


def test_a_plan_asks_for_nothing(
    stack: Stack, caches: list[CacheServer], origin: Origin, operator: Callable[..., Said]
) -> None:
    """It says which edges a refresh would go to, and how many of them have the object now."""
    origin.serves("/a", "v1")
    caches[1].get("/a").fetched("v1")

    rows = operator("refresh", f"http://{SITE}/a", f"http://{SITE}/b", "--plan", "--json").json

    assert [row["stored"] for row in rows] == ["1 of 2", "0 of 2"]
    assert sorted(rows[0]["edges"]) == sorted(cache.name for cache in caches)
    caches[1].get("/a").hit("v1")
    (row,) = operator("refresh", "--domain", SITE.upper(), "--tag", "red", "--plan", "--json").json
    assert (row["group"], row["stored"]) == ("default", "-")
    assert "nobody.test is no domain" in operator("refresh", "http://nobody.test/a", "--plan").err


def test_the_trail_says_who_asked_for_what(stack: Stack, operator: Callable[..., Said], tmp_path: Path) -> None:
    """Calls that change something, whatever came of them, and orders from the command line; no secret is in it."""
    id_ = stack.refresh("/a").id
    with pytest.raises(Exception, match=r"InvalidObjectPath"):
        stack.refresh("/no\x00good")
    stack.client.call("DescribeRefreshQuota", {})
    operator("account", "add", "more")
    operator("edge", "pause", stack.caches[0].name)

    trail = operator("audit", "--json").json

    assert [each["what"].split()[0] for each in trail] == ["RefreshObjectCaches"] * 2 + ["account", "edge"]
    taken, refused, account, edge = trail
    assert (taken["status"], taken["answer"]["RefreshTaskId"], taken["from"]) == (200, id_, "127.0.0.1")
    assert taken["key"] == stack.key.id and taken["asked"]["ObjectPath"] == f"http://{SITE}/a"
    assert (refused["status"], refused["answer"]["Code"]) == (400, "InvalidObjectPath.Malformed")
    assert edge["what"].startswith("edge pause ") and account["from"] == "command line"
    files = list((stack.home / "audit").iterdir())
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600]
    assert stack.key.secret not in files[0].read_text()
    assert "edge pause" in operator("audit", "--who", account["who"]).out
