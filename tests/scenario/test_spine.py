"""From a call to the caches and back, on a real nginx and a real Varnish."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.scenario.killing import survive
from tests.scenario.stack import Asked, Stack
from tests.servers.base import CacheServer, until
from tests.servers.origin import Origin, Phase

Refresh = Callable[[Stack], Asked]

REFRESHES: dict[str, Refresh] = {
    "File": lambda stack: stack.refresh("/img/a.png"),
    "Directory": lambda stack: stack.refresh("/img/", type="Directory"),
    "Directory, forced": lambda stack: stack.refresh("/img/", type="Directory", force=True),
    "Regex": lambda stack: stack.refresh("/img/[a-z].png", type="Regex"),
    "Regex, forced": lambda stack: stack.refresh("/img/.*", type="Regex", force=True),
    "IgnoreParams": lambda stack: stack.refresh("/img/a.png", type="IgnoreParams"),
    "ExQuery": lambda stack: stack.refresh("/img/a.png", type="ExQuery", force=True),
    "CacheTag": lambda stack: stack.refresh_tag("red"),
    "CacheTag, forced": lambda stack: stack.refresh_tag("red", force=True),
}

every_refresh = pytest.mark.parametrize("refresh", REFRESHES.values(), ids=REFRESHES.keys())


@every_refresh
def test_a_refresh_drops_what_it_covers_and_spares_the_rest(
    refresh: Refresh, stack: Stack, caches: list[CacheServer], origin: Origin
) -> None:
    """After Complete every edge has the new version, and nothing beside it was fetched again."""
    origin.serves("/img/a.png", "v1", tags="red")
    origin.serves("/other", "v1", tags="blue")
    for cache in caches:
        cache.get("/img/a.png").fetched("v1")
        cache.get("/img/a.png").hit("v1")
        cache.get("/other").fetched("v1")

    origin.serves("/img/a.png", "v2", tags="red")
    origin.refuses("/other")
    task = refresh(stack).until_complete()

    assert {row["Process"] for row in task.rows()} == {"100%"}
    for cache in caches:
        cache.get("/img/a.png").fetched("v2")
        cache.get("/img/a.png").hit("v2")
        cache.get("/other").hit("v1")


@pytest.mark.parametrize("phase", ["headers", "body"])
@every_refresh
def test_an_old_fetch_under_way_never_comes_back(
    refresh: Refresh, phase: Phase, stack: Stack, caches: list[CacheServer], origin: Origin
) -> None:
    """The race every plain purge loses: after Complete nobody gets the old version, also when the fetch has ended."""
    origin.serves("/img/a.png", "v1", tags="red")
    with origin.holding("/img/a.png", phase) as held, ThreadPoolExecutor() as pool:
        slow = [pool.submit(cache.get, "/img/a.png") for cache in caches]
        held.wait(len(caches))
        origin.serves("/img/a.png", "v2", tags="red")
        origin.lets_pass("/img/a.png")

        refresh(stack).until_complete()

        during = [pool.submit(cache.get, "/img/a.png") for cache in caches]
        held.release()
        for visitor in slow:
            visitor.result()  # it began before, so it may have the old one
        for visitor in during:
            assert visitor.result().body == "v2"
    for cache in caches:
        for _ in range(3):
            assert cache.get("/img/a.png").body == "v2"


def test_a_task_is_complete_only_when_every_edge_is(stack: Stack, caches: list[CacheServer], origin: Origin) -> None:
    """Half of the edges is 50%, and the other half gets it when it is back, before it serves anything old."""
    nginx = caches[0]
    origin.serves("/a", "v1")
    nginx.get("/a").fetched("v1")
    nginx.get("/a").hit("v1")
    nginx.stop()
    origin.serves("/a", "v2")

    task = stack.refresh("/a").until_process("50%")
    assert {row["Status"] for row in task.rows()} == {"Refreshing"}
    nginx.start()
    first = nginx.get("/a")  # its old disk cache is there, and nobody has told it anything yet

    assert first.body == "v2"
    task.until_complete()
    assert nginx.get("/a").body == "v2"


def test_an_edge_that_was_down_serves_its_old_cache_again(
    stack: Stack, caches: list[CacheServer], origin: Origin
) -> None:
    """Catching up is enough: what no refresh covered need not be fetched anew."""
    nginx = caches[0]
    origin.serves("/kept", "v1")
    nginx.get("/kept").fetched("v1")
    nginx.kill()
    stack.refresh("/a").until_process("50%")
    origin.refuses("/kept")

    nginx.start()
    stack.until_fresh()

    nginx.get("/kept").hit("v1")


def test_a_task_fails_at_its_deadline_and_is_delivered_all_the_same(
    make_stack: Callable[..., Stack], caches: list[CacheServer], origin: Origin
) -> None:
    """Failed is final for the caller; the edge still catches up before it serves what it had."""
    stack = make_stack({"FRESHLINE_DEADLINES_REFRESH_SECONDS": "1"})
    nginx = caches[0]
    origin.serves("/a", "v1")
    nginx.get("/a").fetched("v1")
    nginx.stop()
    origin.serves("/a", "v2")

    task = stack.refresh("/a").until_failed("Internal Error")
    assert {row["Process"] for row in task.rows()} == {"50%"}
    nginx.start()
    stack.until_fresh()

    assert nginx.get("/a").body == "v2"
    task.until_failed("Internal Error")


@pytest.mark.parametrize("which", [0, 1], ids=["nginx", "varnish"])
def test_an_edge_killed_during_refreshes_never_goes_back(
    which: int, stack: Stack, caches: list[CacheServer], origin: Origin
) -> None:
    """kill -9 in a stream of refreshes, start on the old disk: what a Complete task covered is gone."""
    cache = caches[which]
    stop = threading.Event()
    tasks: list[Asked] = []

    def keep_refreshing() -> None:
        while not stop.is_set():
            tasks.append(stack.refresh("/a", f"/b{len(tasks)}"))

    origin.serves("/a", "v1")
    cache.get("/a").fetched("v1")
    with ThreadPoolExecutor() as pool:
        stream = pool.submit(keep_refreshing)
        for version in range(2, 5):
            cache.kill()
            origin.serves("/a", f"v{version}")
            cache.start()
            assert cache.get("/a").body == f"v{version}" or not _covered(tasks)
        stop.set()
        stream.result()
    for task in tasks[-3:]:
        task.until_complete()

    assert cache.get("/a").body == "v4"


def _covered(tasks: list[Asked]) -> bool:
    return any(row["Status"] == "Complete" for row in tasks[-1].rows())


def test_what_was_answered_survives_kill_9(stack: Stack, origin: Origin) -> None:
    """Every id that a caller was given is there after kill -9 at any moment, and reaches its end (more: make soak)."""
    origin.serves("*", "v1")

    assert survive(stack, kills=10, seed=1) > 10


def test_progress_is_told_by_monitors_too(stack: Stack, caches: list[CacheServer]) -> None:
    """Rows by status, lag by edge, latencies."""
    stack.refresh("/a", "/b").until_complete()
    caches[0].stop()
    stack.refresh("/c").until_process("50%")

    until(
        lambda: 'freshline_rows{status="Refreshing"} 1.0' in stack.look("/metrics"), seconds=20
    )  # counted now and then
    numbers = stack.look("/metrics")

    assert 'freshline_rows{status="Complete"} 2.0' in numbers
    assert f'freshline_edge_lag_entries{{edge="{caches[0].name}"}} 1.0' in numbers
    assert f'freshline_edge_lag_entries{{edge="{caches[1].name}"}} 0.0' in numbers
    assert f'freshline_edge_fresh{{edge="{caches[0].name}"}} 0.0' in numbers
    assert 'freshline_api_calls_total{action="RefreshObjectCaches",status="200"} 2.0' in numbers
    assert "freshline_delivery_seconds_bucket" in numbers
    assert stack.look("/healthz") == "ok\n"
    caches[0].start()
