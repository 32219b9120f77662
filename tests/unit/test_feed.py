"""What an edge is told of the log."""

from __future__ import annotations

from freshline.delivery.events import Warm
from freshline.delivery.feed import Feed
from freshline.domain.task import Kind, Wish
from freshline.domain.topology import Scope
from freshline.log.memory import MemoryLog

EAST = Scope(frozenset([("east", "")]), frozenset(["east"]))


async def test_every_refresh_goes_to_every_edge_and_a_prefetch_to_its_group() -> None:
    """An edge or a domain that changes its group, and comes back, must find nothing stale."""
    log = MemoryLog()
    wishes = [
        Wish("1", "a.test", "east", Kind.FILE, ("http://a.test/1",)),
        Wish("1", "b.test", "west", Kind.FILE, ("http://b.test/2",)),
        Wish("1", "a.test", "east", Kind.PRELOAD, ("http://a.test/3",)),
        Wish("1", "b.test", "west", Kind.PRELOAD, ("http://b.test/4",)),
    ]
    await log.append(wishes, now=1e9)

    east = Feed(log).stretch(EAST, 0, log.head)

    assert [(command.position, command.host) for command in east.commands] == [(1, "a.test"), (2, "b.test")]
    assert east.warms == (Warm(3, 3, "1", "a.test"),)
    assert [fetch.position for fetch in Feed(log).fetches(EAST, 0, log.head)] == [3]
    assert (east.after, east.upto, east.mark) == (0, 4, log.mark(4))


async def test_a_stretch_ends_where_it_is_told() -> None:
    """In the middle of a task too."""
    log = MemoryLog()
    await log.append([Wish("1", "a.test", "g", Kind.FILE, tuple(f"http://a.test/{n}" for n in range(10)))], now=1e9)

    stretch = Feed(log).stretch(EAST, 3, 7)

    assert [command.position for command in stretch.commands] == [4, 5, 6, 7]
    assert stretch.upto == 7


async def test_prefetches_are_read_over_the_ends_of_tasks() -> None:
    """A long task fills one read; what stands behind it is not left out."""
    log = MemoryLog()
    wish = Wish("1", "a.test", "east", Kind.PRELOAD, tuple(f"http://a.test/{n}" for n in range(100)))
    await log.append([wish, wish, wish], now=1e9)

    assert [fetch.position for fetch in Feed(log).fetches(EAST, 90, 210)] == list(range(91, 211))
