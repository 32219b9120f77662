"""More than one tier, and edges that nobody tells anything: real caches that fetch through each other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from freshline.domain.edge import Duty
from freshline.drivers.lines import FRESH
from tests.scenario.stack import Stack
from tests.servers.base import CacheServer, get, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.upstream import Through
from tests.servers.varnish import Varnish

QUICK = {"FRESHLINE_DELIVERY_HEARTBEAT_SECONDS": "0.3", "FRESHLINE_DELIVERY_LEASE_HEARTBEATS": "4"}
LEASE_SECONDS = 0.3 * 4


@contextmanager
def running(home: Path, caches: list[CacheServer]) -> Iterator[Stack]:
    for cache in caches:
        cache.start()
    stack = Stack(home, caches, QUICK)
    try:
        yield stack.start().until_fresh()
    finally:
        stack.stop()
        for cache in caches:
            cache.stop()


def is_fresh(cache: CacheServer) -> bool:
    """What a load balancer asks."""
    return get(cache.edge.gate, FRESH).status == 200


@pytest.fixture
def tiers(tmp_path: Path, origin: Origin) -> Iterator[tuple[Stack, CacheServer, CacheServer]]:
    """An nginx that fetches through a Varnish."""
    parent = Varnish(tmp_path, origin)
    child = Nginx(tmp_path, Through(parent))
    child.edge = replace(child.edge, parents=(parent.name,))
    with running(tmp_path, [parent, child]) as stack:
        yield stack, parent, child


def test_a_child_is_refreshed_after_its_parent(tiers: tuple[Stack, CacheServer, CacheServer], origin: Origin) -> None:
    """While the parent is told nothing the child is not either, and goes on with what it has; then both are fresh."""
    stack, parent, child = tiers
    origin.serves("/a", "v1")
    child.get("/a").fetched("v1")
    child.get("/a").hit("v1")
    stack.order(parent, Duty.PAUSED)
    time.sleep(0.6)  # the service looks at its inventory every half second

    origin.serves("/a", "v2")
    task = stack.refresh("/a")
    time.sleep(1.0)
    assert {row["Process"] for row in task.rows()} == {"0%"}
    child.get("/a").hit("v1")

    stack.order(parent, Duty.ACTIVE)
    task.until_complete()
    child.get("/a").fetched("v2")
    child.get("/a").hit("v2")


def test_a_parent_is_filled_before_its_child(tiers: tuple[Stack, CacheServer, CacheServer], origin: Origin) -> None:
    """One request reaches the origin, and both have the object."""
    stack, parent, child = tiers
    origin.serves("/big", "v1")

    stack.prefetch("/big").until_complete()

    assert origin.asked("/big") == 1
    parent.get("/big").hit("v1")
    child.get("/big").hit("v1")


def test_a_prefetch_for_the_parents_leaves_the_children_alone(
    tiers: tuple[Stack, CacheServer, CacheServer], origin: Origin
) -> None:
    """L2Preload ends at the tier that others fetch through."""
    stack, parent, child = tiers
    origin.serves("/a", "v1")

    stack.prefetch("/a", L2Preload="true").until_complete()

    parent.get("/a").hit("v1")
    child.get("/a").fetched("v1")
    assert origin.asked("/a") == 1


@pytest.mark.parametrize("kind", [Nginx, Varnish])
@pytest.mark.parametrize("lapse", ["bypass", "refuse"])
def test_an_edge_that_is_told_nothing_holds_a_task_up_for_one_lease(
    kind: type[Nginx | Varnish], lapse: str, tmp_path: Path, origin: Origin
) -> None:
    """Its lease runs out, it serves nothing stored, and the task is Complete; told again, it is a cache again."""
    cache = kind(tmp_path, origin, lapse=lapse)
    with running(tmp_path, [cache]) as stack:
        until(lambda: is_fresh(cache))
        origin.serves("/a", "v1")
        cache.get("/a").fetched("v1")
        cache.get("/a").hit("v1")
        stack.order(cache, Duty.PAUSED)
        time.sleep(0.6)

        origin.serves("/a", "v2")
        asked = time.monotonic()
        stack.refresh("/a").until_complete()
        assert time.monotonic() - asked < LEASE_SECONDS + 2.0
        assert not is_fresh(cache)
        for _ in range(5):
            seen = cache.get("/a")
            assert (seen.status, seen.body) == ((503, "") if lapse == "refuse" else (200, "v2"))

        stack.order(cache, Duty.ACTIVE)
        until(lambda: is_fresh(cache))
        until(lambda: cache.get("/a").cache == "HIT")
        cache.get("/a").hit("v2")


def test_an_edge_that_serves_without_a_lease_is_waited_for(tmp_path: Path, origin: Origin) -> None:
    """It may serve what it has, so nobody says that it does not; a load balancer is told."""
    cache = Nginx(tmp_path, origin)
    with running(tmp_path, [cache]) as stack:
        until(lambda: is_fresh(cache))
        stack.order(cache, Duty.PAUSED)
        until(lambda: not is_fresh(cache))

        task = stack.refresh("/a")
        time.sleep(2 * LEASE_SECONDS)
        assert {row["Status"] for row in task.rows()} != {"Complete"}

        stack.order(cache, Duty.ACTIVE)
        task.until_complete()
        until(lambda: is_fresh(cache))


def test_a_drained_edge_is_kept_up_to_date_and_out_of_rotation(tmp_path: Path, origin: Origin) -> None:
    """No task waits for it, no load balancer sends it anybody, and it has nothing to catch up when it is resumed."""
    caches: list[CacheServer] = [Nginx(tmp_path, origin), Varnish(tmp_path, origin)]
    with running(tmp_path, caches) as stack:
        drained, other = caches
        origin.serves("/a", "v1")
        drained.get("/a").fetched("v1")
        stack.order(drained, Duty.DRAINED)
        until(lambda: not is_fresh(drained))
        assert is_fresh(other)

        origin.serves("/a", "v2")
        stack.refresh("/a").until_complete()
        until(lambda: drained.get("/a").body == "v2")

        stack.order(drained, Duty.ACTIVE)
        until(lambda: is_fresh(drained))
