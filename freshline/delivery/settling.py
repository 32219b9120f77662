"""What edges have settled, on its way to the log: one commit for all that came while the one before was written.

A thousand edges that answer at once would otherwise be a thousand things for the log to do, and twice as many where
each first says that it has begun. That an edge has begun can wait a moment; mostly it is done by then, and what is
written says both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from freshline.domain.edge import Evidence, Progress
from freshline.log.base import Log, LogUnavailable, Settled

logger = logging.getLogger("freshline.delivery")

SETTLE_AGAIN_SECONDS = 1.0  #: the log could not be written: how soon it is tried again
WAIT_SECONDS = 0.1  #: for what need not be written at once


class Account:
    """One edge's part: its newest progress, and what proves it."""

    def __init__(self, settling: Settling, edge: str, written: Callable[[Progress], None]) -> None:
        """:param written: called with what is durable now"""
        self._settling = settling
        self.edge, self.written = edge, written
        self.progress: Progress | None = None
        self.proofs: list[Evidence] = []
        self.is_open = True

    def settle(self, progress: Progress, evidence: Sequence[Evidence] = (), *, urgent: bool = True) -> None:
        """Make this durable soon; what was to be, and is not yet, is replaced by it."""
        self.progress = progress
        self.proofs += evidence
        self._settling.due(self, urgent)

    def close(self) -> None:
        """What is not written yet need not be."""
        self.is_open = False
        self.progress, self.proofs = None, []


class Settling:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._due: dict[Account, None] = {}  #: in the order they came
        self._working: asyncio.Task[None] | None = None
        self._timer: asyncio.Handle | None = None
        self._urgent = False  #: the timer is no later than this turn of the loop
        self._idle = asyncio.Event()  #: nothing is with the log
        self._idle.set()

    def account(self, edge: str, written: Callable[[Progress], None]) -> Account:
        return Account(self, edge, written)

    def due(self, account: Account, urgent: bool) -> None:
        self._due[account] = None
        if self._working is not None or (self._timer is not None and (self._urgent or not urgent)):
            return
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._urgent = urgent
        self._timer = loop.call_soon(self._begin) if urgent else loop.call_later(WAIT_SECONDS, self._begin)

    async def written(self) -> None:
        """Once what is with the log now is in it, or was refused."""
        await self._idle.wait()

    async def close(self) -> None:
        """What is being written is; the rest is sent again next time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = {}
        if self._working is not None:
            await asyncio.gather(self._working, return_exceptions=True)

    def _begin(self) -> None:
        self._timer, self._urgent = None, False
        self._working = asyncio.get_running_loop().create_task(self._work(), name="settling")

    async def _work(self) -> None:
        try:
            while self._due:
                await self._write()
        finally:
            self._working = None

    async def _write(self) -> None:
        taken = []
        for account in self._due:
            if account.progress is not None:
                taken.append((account, Settled(account.edge, account.progress, account.proofs)))
                account.progress, account.proofs = None, []
        self._due = {}
        if not taken:
            return
        try:
            await self._tell([settled for _, settled in taken])
        except Exception as error:
            if isinstance(error, LogUnavailable):
                logger.warning("cannot write down what %d edges have settled: %s", len(taken), error)
            else:
                logger.exception("could not write down what %d edges have settled; trying again", len(taken))
            for account, settled in taken:
                if account.is_open:
                    account.progress = account.progress or settled.progress
                    account.proofs = [*settled.evidence, *account.proofs]
                    self._due[account] = None
            await asyncio.sleep(SETTLE_AGAIN_SECONDS)
            return
        for account, settled in taken:
            if account.is_open:
                account.written(settled.progress)

    async def _tell(self, settled: Sequence[Settled]) -> None:
        self._idle.clear()
        try:
            await self._log.settle_all(settled)
        finally:
            self._idle.set()
