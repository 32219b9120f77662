"""What an edge is told of the log."""

from __future__ import annotations

import random

from freshline.delivery.events import Warm
from freshline.delivery.feed import STRETCH_ROWS, Feed
from freshline.domain.task import Kind, Wish
from freshline.domain.topology import Scope
from freshline.drivers import lines
from freshline.drivers.base import Batch
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


async def test_stretches_are_the_log_wherever_they_begin() -> None:
    """Cut out of blocks that others have read in part, they leave out nothing and say nothing twice."""
    log = MemoryLog()
    feed = Feed(log)
    dice = random.Random(3)
    wanted: list[int] = []
    while log.head < 3 * STRETCH_ROWS:
        kind = dice.choice([Kind.FILE, Kind.FILE, Kind.PRELOAD])
        urls = tuple(f"http://a.test/{log.head}/{n}" for n in range(dice.randint(1, 300)))
        (task,) = await log.append([Wish("1", "a.test", dice.choice(["east", "west"]), kind, urls)], now=1e9)
        wanted += range(task.id, task.last + 1) if kind is Kind.FILE else ()
        at = dice.randint(0, log.head)
        feed.stretch(EAST, at, log.head)

    for start in (0, 1, 999, STRETCH_ROWS - 1, STRETCH_ROWS, STRETCH_ROWS + 1001, log.head - 1):
        told: list[int] = []
        after = start
        while after < log.head:
            stretch = feed.stretch(EAST, after, log.head)
            body = lines.batch_body(Batch("log", after, stretch.upto, stretch.mark, True, stretch.commands))
            assert lines.read_batch(body).commands == tuple(stretch.commands)
            assert (stretch.after, stretch.mark) == (after, log.mark(stretch.upto))
            assert after < stretch.upto <= after + STRETCH_ROWS * 3 // 2
            told += [command.position for command in stretch.commands]
            after = stretch.upto

        assert told == [position for position in wanted if position > start]


async def test_a_stretch_says_what_had_gone_from_the_log() -> None:
    """A day may be dropped between the look at where the log begins and the reading of it."""
    log = MemoryLog()
    for day in (0, 5):
        wishes = [Wish("1", "a.test", "g", Kind.FILE, (f"http://a.test/{n}",)) for n in range(3)]
        await log.append(wishes, now=1e9 + day * 86_400)
    early, feed = Feed(log), Feed(log)
    assert early.stretch(EAST, 0, 2).oldest == 0
    await log.drop_before(int(1e9) + 4 * 86_400)

    assert feed.stretch(EAST, 0, 6).oldest == early.stretch(EAST, 1, 6).oldest == 4
    assert feed.stretch(EAST, 3, 6).oldest == 4


async def test_nothing_has_gone_from_a_stretch_over_two_blocks() -> None:
    """The second begins in the middle of it."""
    log = MemoryLog()
    wish = Wish("1", "a.test", "g", Kind.FILE, tuple(f"http://a.test/{n}" for n in range(STRETCH_ROWS)))
    await log.append([wish, wish], now=1e9)

    stretch = Feed(log).stretch(EAST, STRETCH_ROWS - 5, STRETCH_ROWS + 5)

    assert stretch.oldest <= stretch.after + 1
    assert len(stretch.commands) == 10
