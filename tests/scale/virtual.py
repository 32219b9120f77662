"""An event loop on a clock of its own: when there is nothing to do, it is the next moment at once.

What takes real time, a commit in the log's thread, takes no virtual time: while one is under way the clock stands.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

from freshline.ambient import Ambient
from freshline.log.base import Settled
from freshline.log.group import Op
from freshline.log.sqlite import SqliteLog

EPOCH = 1_700_000_000.0  #: Unix seconds at which virtual time begins


class Selector(selectors.EpollSelector):
    busy: Callable[[], bool] = staticmethod(lambda: False)
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if self.busy() or timeout is None:
            return super().select(None)
        self.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Selector()
        super().__init__(self.clock)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.clock.now


class VirtualAmbient(Ambient):
    def __init__(self, loop: VirtualLoop, dice: random.Random) -> None:
        self._loop, self._dice = loop, dice

    def now(self) -> float:
        return EPOCH + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    def uniform(self, low: float, high: float) -> float:
        return self._dice.uniform(low, high)


class WatchedLog(SqliteLog):
    """The log as it is shipped; it says whether anything is being written."""

    under_way = 0
    settled: Callable[[Sequence[Settled]], Awaitable[None]] | None = None  #: awaited by whoever had it written

    @classmethod
    def in_virtual_time(cls, file: Path) -> WatchedLog:
        """Without waiting for the disk, whose time is virtual too: whoever simulates says how long a commit takes."""
        log = cls.open(file)
        log._writing.execute("PRAGMA synchronous = OFF")
        return cast(WatchedLog, log)

    async def settle_all(self, settled: Sequence[Settled]) -> None:
        await super().settle_all(settled)
        if self.settled is not None:
            await self.settled(settled)

    async def _submit(self, op: Op) -> Any:
        self.under_way += 1
        try:
            return await super()._submit(op)
        finally:
            self.under_way -= 1
