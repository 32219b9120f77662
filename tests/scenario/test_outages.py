"""Edges that are down, far, slow, or not what they should be: docs/operations.md, Outages, in its words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from freshline.drivers.base import Driver
from freshline.inventory.sqlite import SqliteInventory
from freshline.wiring import driver
from tests.scenario.wired import Wired, wired
from tests.servers.base import SECRET, CacheServer, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin
from tests.servers.steered import Steered
from tests.servers.varnish import Varnish

HTTP_HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@dataclass(frozen=True)
class Trouble:
    begins: Callable[[Wired, CacheServer], None]
    log: str  #: what the service's log says
    state: str  #: in ``freshline edges``
    said: str = ""  #: beside the state
    ends: Callable[[Wired, CacheServer], None] = lambda fleet, cache: fleet.wire(cache).passes()


@dataclass(frozen=True)
class Beside:
    """A cache whose gate is reached past its wire."""

    cache: CacheServer
    gate: str

    def driver(self) -> Driver:
        return driver(replace(self.cache.edge, gate=self.gate))


def secret(fleet: Wired, cache: CacheServer, value: str) -> None:
    inventory = SqliteInventory.open(fleet.stack.home / "inventory.db")
    inventory.roster.change(cache.name, secret=value)
    inventory.close()


TROUBLES = {
    "down": Trouble(
        lambda fleet, cache: fleet.wire(cache).refuses(),
        "is out of reach: Connection refused",
        "unreachable",
        "Connection refused",
    ),
    "half an answer": Trouble(
        lambda fleet, cache: fleet.wire(cache).cuts(30),
        "is out of reach: connection closed by the edge",
        "unreachable",
        "connection closed by the edge",
    ),
    "another web server": Trouble(
        lambda fleet, cache: fleet.wire(cache).says(HTTP_HELLO),
        "is not what answers at its gate's address: 200: no line 'gate'; look what listens there",
        "garbage",
        "200: no line 'gate'",
    ),
    "noise": Trouble(
        lambda fleet, cache: fleet.wire(cache).says(b"\x00\x01\x02 noise\r\n\r\n"),
        "is not what answers at its gate's address: not an HTTP answer",
        "garbage",
        "not an HTTP answer",
    ),
    "another kind of gate": Trouble(
        lambda fleet, cache: fleet.wire(cache).leads(fleet.wire(fleet.caches[1]).target),
        "is a gate of varnish, and the inventory says nginx: `freshline edge set ",
        "wrong kind",
        "is a gate of varnish",
    ),
    "wrong secret": Trouble(
        lambda fleet, cache: secret(fleet, cache, "another-secret-than-that-of-the-gate"),
        "refuses our secret (403): write its files anew with `freshline gate`",
        "wrong secret",
        "403",
        lambda fleet, cache: secret(fleet, cache, SECRET),
    ),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    """An nginx and a Varnish for all tests here, each over its wire."""
    home, origin = tmp_path_factory.mktemp("outages"), Origin()
    origin.start()
    with wired(home, origin, [Nginx(home, origin), Varnish(home, origin)]) as made:
        yield made
    origin.stop()


@pytest.fixture
def fleet(running: Wired) -> Wired:
    running.heal()
    running.mark()
    return running


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_an_edge_that_is_not_driven_is_waited_for_and_says_why(trouble: Trouble, fleet: Wired) -> None:
    """Its tasks stay at the share of the others, also after the service was killed; and then it is told."""
    (hurt, other), page = fleet.caches, f"/{time.monotonic()}"
    fleet.origin.serves(page, "v1")
    for cache in fleet.caches:
        cache.get(page).fetched("v1")
        cache.get(page).hit("v1")
    trouble.begins(fleet, hurt)
    fleet.until_says(f"{hurt.name} {trouble.log}")

    fleet.origin.serves(page, "v2")
    task = fleet.stack.refresh(page).until_process("50%")
    other.get(page).fetched("v2")
    assert (fleet.metric("fresh", hurt), fleet.metric("fresh", other)) == (0.0, 1.0)
    assert (fleet.balancer(hurt), fleet.balancer(other)) == (503, 200)
    fleet.mark()
    fleet.crash()
    fleet.until_says(f"{hurt.name} {trouble.log}")
    until(lambda: fleet.balancer(other) == 200)
    task.until_process("50%")
    assert [(row["Status"], row["Description"]) for row in task.rows()] == [("Refreshing", "")]
    shown = fleet.edge(hurt)
    assert (shown["state"], shown["lag_entries"]) == (trouble.state, 1) and trouble.said in shown["said"]

    trouble.ends(fleet, hurt)
    task.until_complete()
    if trouble.state != "wrong secret":  # there the edge was changed, and is driven anew
        fleet.until_says(f"{hurt.name} is back")
    for cache in fleet.caches:
        assert cache.get(page).body == "v2"
    until(lambda: fleet.balancer(hurt) == 200)


def test_a_gate_of_another_log_is_flushed_whole(fleet: Wired) -> None:
    """Nothing that it has can be vouched for; it is said, and the task is Complete all the same."""
    hurt = fleet.caches[0]
    fleet.origin.serves("/kept", "v1")
    hurt.get("/kept")
    fleet.wire(hurt).refuses()
    another = Steered(Beside(hurt, fleet.wire(hurt).target), log="log-of-somebody-else").bind()
    another.close()
    fleet.origin.serves("/kept", "v2")

    fleet.wire(hurt).passes()
    fleet.stack.refresh("/x").until_complete()

    assert fleet.says(f"{hurt.name} stands at 0 of log log-of-somebody-else: flushing it whole")
    assert hurt.get("/kept").body == "v2"


def test_a_slow_edge_holds_up_nobody_else(fleet: Wired) -> None:
    """Each of its answers takes two seconds; the other's refreshes are through long before, and callers see half."""
    slow, other = fleet.caches
    fleet.origin.serves("/slow", "v1")
    other.get("/slow").fetched("v1")
    fleet.wire(slow).slow(2.0)
    fleet.origin.serves("/slow", "v2")

    asked = time.monotonic()
    tasks = [fleet.stack.refresh("/slow", f"/s{at}") for at in range(5)]
    tasks[-1].until_process("50%")
    assert time.monotonic() - asked < 2.0
    other.get("/slow").fetched("v2")
    assert fleet.metric("lag_entries", other) == 0.0
    assert fleet.metric("lag_entries", slow) == 10.0
    fleet.crash()
    until(lambda: fleet.metric("fresh", other) == 1.0)

    for task in tasks:
        task.until_complete()
    assert not fleet.says("out of reach")


def test_an_edge_that_says_nothing_times_out(fleet: Wired) -> None:
    """Connections stand and nothing comes: it is called that."""
    fleet.wire(fleet.caches[0]).drops()

    assert (fleet.edge(fleet.caches[0])["state"], fleet.edge(fleet.caches[0])["said"]) == (
        "timeout",
        "no answer within 3 s",
    )
