"""A network that parts the service from its gates, in either direction, under each lapse; and parents that are gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from freshline.domain.edge import Duty
from tests.scenario.wired import Wired, wired
from tests.servers.base import CacheServer, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.upstream import Through
from tests.servers.varnish import Varnish

QUICK = {"FRESHLINE_DELIVERY_HEARTBEAT_SECONDS": "0.4", "FRESHLINE_DELIVERY_LEASE_HEARTBEATS": "4"}
LEASE_SECONDS = 0.4 * 4


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    """Three caches, one for each lapse: serve, bypass, refuse."""
    home, origin = tmp_path_factory.mktemp("partition"), Origin()
    origin.start()
    caches: list[CacheServer] = [
        Nginx(home, origin),
        Varnish(home, origin, lapse="bypass"),
        Nginx(home, origin, lapse="refuse"),
    ]
    with wired(home, origin, caches, QUICK) as made:
        yield made
    origin.stop()


@pytest.fixture
def fleet(running: Wired) -> Wired:
    running.heal()
    until(lambda: all(running.gate_is_fresh(cache) for cache in running.caches))
    return running


@pytest.mark.parametrize("way", ["to", "from"])
@pytest.mark.parametrize("how", ["holds", "drops"])
def test_a_partition_under_each_lapse(how: str, way: Literal["to", "from"], fleet: Wired) -> None:
    """Who serves without a lease is waited for. Who does not is done within one, and nobody gets anything stale of it.

    The service is killed meanwhile, and knows of the leases that the one before it had granted.
    """
    serve, bypass, refuse = fleet.caches
    page = f"/{how}/{way}"
    fleet.origin.serves(page, "v1")
    for cache in fleet.caches:
        cache.get(page).fetched("v1")
        cache.get(page).hit("v1")
    for wire in fleet.wires.values():
        getattr(wire, how)(way)
    fleet.origin.serves(page, "v2")
    task = fleet.stack.refresh(page)
    fleet.crash()

    task.until_process("66.66%")

    assert {row["Status"] for row in task.rows()} == {"Refreshing"}
    for _ in range(3):
        assert bypass.get(page).body == "v2"
        assert (refuse.get(page).status, refuse.get(page).body) == (503, "")
    assert serve.get(page).status == 200
    until(lambda: not any(fleet.gate_is_fresh(cache) for cache in fleet.caches))
    assert [fleet.balancer(cache) for cache in fleet.caches] == [503, 503, 503]

    for wire in fleet.wires.values():
        wire.passes()
    task.until_complete()
    until(lambda: all(fleet.gate_is_fresh(cache) and fleet.balancer(cache) == 200 for cache in fleet.caches))
    for cache in fleet.caches:
        assert cache.get(page).body == "v2"
        cache.get(page).hit("v2")


def test_an_edge_that_cannot_be_heard_is_complete_one_lease_later(fleet: Wired) -> None:
    """Not sooner, for it may still be serving what it has; and not much later."""
    for cache in fleet.caches[1:]:
        fleet.wire(cache).drops("from")
    asked = time.monotonic()

    task = fleet.stack.refresh("/late").until_complete()

    assert time.monotonic() - asked < LEASE_SECONDS + 5.0
    said = {edge["edge"]: [piece["said"] for piece in edge["said"]] for edge in fleet.evidence(task.id)}
    assert [said[cache.name] for cache in fleet.caches[1:]] == [["holds no lease"], ["holds no lease"]]


def test_a_parent_that_is_down_holds_up_what_is_below_it_until_it_is_drained(tmp_path: Path, origin: Origin) -> None:
    """Told first, the child would be filled from one that is stale. Draining the parent lets its children go on."""
    parent = Varnish(tmp_path, origin)
    child = Nginx(tmp_path, Through(parent))
    child.edge = replace(child.edge, parents=(parent.name,))
    origin.serves("/a", "v1")
    with wired(tmp_path, origin, [parent, child], QUICK) as fleet:
        child.get("/a").fetched("v1")
        child.get("/a").hit("v1")
        fleet.wire(parent).refuses()
        fleet.until_says(f"{parent.name} is out of reach: Connection refused")
        origin.serves("/a", "v2")

        task = fleet.stack.refresh("/a")
        fleet.crash()
        task.until_process("0%")
        fleet.until_says(f"{parent.name} is out of reach: Connection refused")
        assert (fleet.metric("fresh", parent), fleet.metric("lag_entries", child)) == (0.0, 1.0)
        assert fleet.edge(child)["state"] == "catching up"
        child.get("/a").hit("v1")

        fleet.stack.order(parent, Duty.DRAINED)
        task.until_complete()
        assert fleet.edge(child)["state"] == "fresh"

        parent.stop()  # taken out, so that nothing is fetched through it while it is stale
        assert child.get("/a").status in (502, 503, 504)
        parent.start()
        fleet.wire(parent).passes()
        fleet.stack.order(parent, Duty.ACTIVE)
        fleet.stack.until_fresh()
        until(lambda: child.get("/a").body == "v2")
