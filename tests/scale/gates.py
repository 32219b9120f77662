"""Thousands of gates as docs/gates.md has them, and the network in between. All times are virtual."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from freshline.domain.action import Fetch
from freshline.drivers.base import (
    Adrift,
    Applied,
    Batch,
    Clock,
    Fault,
    Fetched,
    FetchOutcome,
    Gate,
    Lapse,
    Lease,
    Probed,
    Trouble,
)

TIMEOUT_SECONDS = 10.0
APPLIES = 400_000  #: commands a second that a gate takes

T = TypeVar("T")


@dataclass
class Net:
    """What all requests go through. ``calm``: nothing is lost any more, nobody is cut off."""

    dice: random.Random
    calm: bool = False
    requests: int = 0
    lost: int = 0
    told: dict[int, tuple[object, int, int]] = field(default_factory=dict)  #: by identity: commands that were looked at
    check: Callable[[Batch], None] = lambda batch: None

    def looked_at(self, batch: Batch) -> None:
        """Each run of commands is compared with what was asked for once, not once for each gate."""
        known = self.told.get(id(batch.commands))
        if known is None or known[0] is not batch.commands or known[1:] != (batch.after, batch.upto):
            self.check(batch)
            if len(self.told) > 64:
                self.told.clear()
            self.told[id(batch.commands)] = (batch.commands, batch.after, batch.upto)


class SimGate:
    """One gate, and the driver that speaks to it."""

    def __init__(self, net: Net, *, seconds: float, loss: float, lapse: Lapse, start: int) -> None:
        """:param start: its clock's first reading"""
        self.net, self.seconds, self.loss, self.lapse = net, seconds, loss, lapse
        self.log: str | None = None
        self.position = 0
        self.mark: str | None = None
        self.synced = False
        self.cut_until = 0.0
        self.leased_until = float("-inf")  #: its own clock, milliseconds
        self.flushes = 0
        self.fetched: set[int] = set()
        self._start = start

    # -- the gate -------------------------------------------------------------
    def clock(self) -> Clock:
        return Clock("b0", self._start + int(asyncio.get_running_loop().time() * 1000))

    def holds(self) -> bool:
        return self.clock().milliseconds < self.leased_until

    def serves_what_is_stored(self) -> bool:
        return self.lapse is Lapse.SERVE or self.holds()

    def _take(self, lease: Lease | None) -> None:
        if lease is not None and self.synced and self.position >= lease.position:
            self.leased_until = max(self.leased_until, lease.clock.milliseconds + lease.seconds * 1000)

    def _status(self, lease: Lease | None) -> Gate:
        clock = self.clock()
        left = str(max(0, int(self.leased_until - clock.milliseconds)) if self.holds() else 0)
        self._take(lease)
        return Gate(self.log, self.position, self.mark, self.synced, clock, self.lapse, {"lease": left})

    def _apply(self, batch: Batch, lease: Lease | None) -> Applied | Adrift:
        if self.log != batch.log:
            return Adrift("409 other")
        if batch.after > self.position:
            return Adrift("409 behind")
        if batch.upto > self.position:
            self.net.looked_at(batch)
            self.position, self.mark = batch.upto, batch.mark
        self.synced = self.synced or batch.live
        assert self.mark is not None
        self._take(lease)
        return Applied(self.position, self.mark, (), "200 ok", self.clock())

    def _flush(self, log: str, position: int, mark: str) -> Applied:
        self.log, self.position, self.mark, self.synced = log, position, mark, True
        self.flushes += 1
        return Applied(position, mark, (), "200 ok", self.clock())

    # -- the driver -----------------------------------------------------------
    def _call(self, work: float, act: Callable[[], T], done: Callable[[T | Trouble], None]) -> None:
        self.net.requests += 1
        asyncio.get_running_loop().call_later(
            self.seconds * self.net.dice.expovariate(1) + work, self._arrived, act, done
        )

    def _arrived(self, act: Callable[[], T], done: Callable[[T | Trouble], None]) -> None:
        net = self.net
        if net.calm:
            done(act())
            return
        loop, fate = asyncio.get_running_loop(), net.dice.random()
        request_lost = loop.time() < self.cut_until or fate < self.loss
        answer = None if request_lost else act()
        if answer is None or fate < 2 * self.loss:
            net.lost += 1
            loop.call_later(TIMEOUT_SECONDS, done, Trouble(Fault.TIMEOUT, "no answer"))
        else:
            done(answer)

    def ask(self, lease: Lease | None, done: Callable[[Gate | Trouble], None]) -> None:
        self._call(0, partial(self._status, lease), done)

    def tell(self, batch: Batch, lease: Lease | None, done: Callable[[Applied | Adrift | Trouble], None]) -> None:
        self._call(len(batch.commands) / APPLIES, partial(self._apply, batch, lease), done)

    async def status(self, lease: Lease | None = None) -> Gate | Trouble:
        return await _awaited(lambda done: self.ask(lease, done))

    async def apply(self, batch: Batch, lease: Lease | None = None) -> Applied | Adrift | Trouble:
        return await _awaited(lambda done: self.tell(batch, lease, done))

    async def flush(self, log: str, position: int, mark: str, lease: Lease | None = None) -> Applied | Trouble:
        return await _awaited(lambda done: self._call(0, lambda: self._flush(log, position, mark), done))

    async def probe(self, what: Fetch) -> Probed | Trouble:
        raise AssertionError("delivery does not probe")

    async def fetch(self, what: Fetch) -> Fetched | Trouble:
        def act() -> Fetched:
            self.fetched.add(what.position)
            return Fetched(FetchOutcome.STORED, 200, 1, "stored")

        return await _awaited(lambda done: self._call(0.05, act, done))

    async def close(self) -> None:
        pass


async def _awaited(call: Callable[[Callable[[T], None]], None]) -> T:
    waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    call(lambda answer: None if waiter.done() else waiter.set_result(answer))
    return await waiter
