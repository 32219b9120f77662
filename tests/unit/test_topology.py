"""How edges hang together: who is waited for, who fetches through whom, and who takes part in what."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from freshline.domain.edge import Edge
from freshline.domain.task import Kind, Wish
from freshline.domain.topology import TIERS, BadTopology, Topology, with_edge


def edge(name: str, group: str = "eu", *parents: str, area: str = "") -> Edge:
    return Edge(name, "nginx", group, "h:1", "h:2", "", 0, parents, area)


def push(group: str = "eu", area: str = "", parents_only: bool = False) -> Wish:
    return Wish("1", "a.test", group, Kind.PRELOAD, ("http://a.test/",), area=area, parents_only=parents_only)


FLEET = Topology(
    [
        edge("shield", "shields"),
        edge("mid", "mids", "shield"),
        edge("eu1", "eu", "mid", area="domestic"),
        edge("eu2", "eu", "mid", "shield", area="overseas"),
        edge("us1", "us"),
    ]
)


def names(edges: Iterable[Edge]) -> list[str]:
    return [each.name for each in edges]


def test_a_group_is_served_by_all_that_it_fetches_through() -> None:
    """A task of the group waits for its parents and for theirs, whatever group they are in."""
    assert names(FLEET.serving("eu")) == ["eu1", "eu2", "mid", "shield"]
    assert names(FLEET.serving("us")) == ["us1"]
    assert names(FLEET.serving("nowhere")) == []


def test_tiers_are_counted_from_the_visitors() -> None:
    """L1 is nobody's parent; a parent is above the highest of its children."""
    assert [FLEET.tier(name) for name in ("eu1", "eu2", "us1", "mid", "shield")] == [1, 1, 1, 2, 3]


def test_a_prefetch_for_an_area_takes_the_way_that_leads_there() -> None:
    """The edges of the area, those of no area, and what they fetch through."""
    assert names(FLEET.taking(push(area="domestic"))) == ["eu1", "mid", "shield"]
    assert names(FLEET.taking(push("us", area="domestic"))) == ["us1"]


def test_a_prefetch_for_parents_ends_above_the_visitors() -> None:
    """Where nobody fetches through anybody, every edge is next to the origin."""
    assert names(FLEET.taking(push(parents_only=True))) == ["mid", "shield"]
    assert names(FLEET.taking(push("us", parents_only=True))) == ["us1"]


def test_a_refresh_concerns_everybody() -> None:
    """Whatever area or tier."""
    refresh = Wish("1", "a.test", "eu", Kind.FILE, ("http://a.test/",))

    assert all(FLEET.scope(name).takes(refresh) for name in FLEET.edges)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (edge("shield", "shields", "eu1"), "in a circle: "),
        (edge("new", "eu", "new"), "in a circle: new → new"),
        (edge("new", "eu", "nobody"), "'new' fetches through 'nobody', which is no edge"),
    ],
)
def test_what_does_not_hold_together_is_refused(changed: Edge, said: str) -> None:
    """No edge fetches through itself, or through what is not there."""
    with pytest.raises(BadTopology, match=said):
        with_edge(FLEET.edges.values(), changed)


@pytest.mark.parametrize("count", [TIERS, TIERS + 1, 2000])
@pytest.mark.parametrize("way", [1, -1])
def test_tiers_are_bounded(count: int, way: int) -> None:
    """A row of edges that is too long is refused, whichever is looked at first, and not by a stack that ends."""
    row = [edge(f"e{at}", "eu", *([f"e{at - 1}"] if at else [])) for at in range(count)][::way]

    if count <= TIERS:
        Topology(row).check()
        assert Topology(row).tier("e0") == TIERS
    else:
        with pytest.raises(BadTopology, match=f"fetches through {TIERS} others or more in a row"):
            Topology(row).check()


def test_a_circle_of_all_tiers_is_called_one() -> None:
    """The longest there can be, since what is longer was refused before it was closed."""
    row = [edge(f"e{at}", "eu", f"e{at - 1}" if at else f"e{TIERS - 1}") for at in range(TIERS)]

    with pytest.raises(BadTopology, match="in a circle: "):
        Topology(row).check()
