"""What a fleet does once for all its edges: writing down, and waking up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from freshline.alarms import Alarm, Alarms
from freshline.delivery import settling
from freshline.delivery.settling import Settling
from freshline.domain.edge import Evidence, Progress
from freshline.domain.task import Kind, Wish
from freshline.log.base import LogUnavailable, Settled
from freshline.log.memory import MemoryLog


class Full(MemoryLog):
    """A log whose disk is full for a while."""

    full = True
    commits = 0

    async def settle_all(self, settled: Sequence[Settled]) -> None:
        if self.full:
            self.full = False
            raise LogUnavailable("disk full")
        self.commits += 1
        await super().settle_all(settled)


async def test_what_could_not_be_written_is_written_later_with_what_came_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress and no proof is lost, one commit holds all edges, and of an edge that has gone nothing is written."""
    monkeypatch.setattr(settling, "SETTLE_AGAIN_SECONDS", 0.01)
    log, written = Full(), []
    await log.append([Wish("1", "a.test", "g", Kind.FILE, ("http://a.test/1", "http://a.test/2"))], now=1e9)
    books = Settling(log)
    one, two, gone = (books.account(name, written.append) for name in ("one", "two", "gone"))

    one.settle(Progress(1), [Evidence("one", 1, 1, 0, 0, "first")])
    two.settle(Progress(2))
    gone.settle(Progress(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it was tried, and could not be
    one.settle(Progress(2), [Evidence("one", 2, 2, 0, 0, "second")])
    gone.close()
    async with asyncio.timeout(5):
        while len(written) < 2:
            await asyncio.sleep(0.001)

    assert (log.progress("one"), log.progress("two"), log.progress("gone")) == (Progress(2), Progress(2), None)
    assert [proof.said for proof in log.evidence("one", 1, 2)] == ["first", "second"]
    assert log.commits == 1
    await books.close()


class Slow(MemoryLog):
    """A log that takes what it is told when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def settle_all(self, settled: Sequence[Settled]) -> None:
        self.asked.set()
        await self.may.wait()
        await super().settle_all(settled)


async def test_who_comes_next_waits_for_what_is_being_written() -> None:
    """An edge that is started anew begins where it ended, not where it was before."""
    log = Slow()
    await log.append([Wish("1", "a.test", "g", Kind.FILE, ("http://a.test/1",))], now=1e9)
    books = Settling(log)
    account = books.account("e", lambda progress: None)
    account.settle(Progress(1))
    await log.asked.wait()
    account.close()

    waiting = asyncio.create_task(books.written())
    await asyncio.sleep(0)
    assert not waiting.done()

    log.may.set()
    await waiting
    assert log.progress("e") == Progress(1)
    await books.close()


async def test_an_alarm_rings_once_at_the_moment_that_was_set_last() -> None:
    """Later or earlier than before; one that was called off does not ring."""
    alarms, rung = Alarms(), []
    later, sooner, off = (Alarm(alarms, partial(rung.append, name)) for name in ("later", "sooner", "off"))
    now = asyncio.get_running_loop().time()
    off.set(now + 0.02)
    later.set(now + 0.01)
    sooner.set(now + 30)
    later.set(now + 0.2)
    sooner.set(now + 0.05)
    off.cancel()
    async with asyncio.timeout(5):
        while len(rung) < 2:
            await asyncio.sleep(0.005)

    assert rung == ["sooner", "later"]
