"""Accepted to proven on 100 edges: from the commit of a refresh until the last gate's answer is on the disk.

Beside one bare request to each of the same gates, over connections that are open. The gates are scripted
(:mod:`bench.gates`), in a process of their own; the service and the bare client take turns in this one.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import cast

import uvloop

from bench import inside
from bench.gates import Gates
from bench.harness import Bench, Line
from freshline.domain.task import Kind, Wish

EDGES = 100
TURNS = 20  #: of each side in a round
PAUSE_SECONDS = 0.02  #: after each, so that neither finds the other's work undone
QUESTION = b"GET /freshline/status HTTP/1.1\r\nhost: gate\r\nfreshline-key: bare\r\n\r\n"


def run(bench: Bench) -> list[Line]:
    with tempfile.TemporaryDirectory() as home, Gates(Path(home), EDGES) as gates:
        ours, bare = uvloop.run(_measure(bench, Path(home), gates))
    what = f"accepted to proven on {EDGES} edges"
    against = "one bare request round to the same 100"
    return [
        _line("prove.p50", f"{what}, p50", against, ours, bare, 50),
        _line("prove.p95", f"{what}, p95", against, ours, bare, 95),
    ]


def _line(
    key: str, what: str, against: str, ours: Sequence[list[float]], bare: Sequence[list[float]], percent: int
) -> Line:
    rounds = [_percentile(a, percent) / _percentile(b, percent) for a, b in zip(ours, bare, strict=True)]
    of_all = [_percentile([seconds for turn in side for seconds in turn], percent) * 1e3 for side in (ours, bare)]
    detail = {"ours": round(of_all[0], 2), "floor": round(of_all[1], 2), "unit": "ms"}
    return Line(key, what, against, median(rounds), 5, "≤", rounds=rounds, detail=detail)


def _percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


async def _measure(bench: Bench, home: Path, gates: Gates) -> tuple[list[list[float]], list[list[float]]]:
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    async with inside.service(home / "books", gates.edges) as (made, log):
        crowd = [await _Bare.to(edge.gate) for edge in gates.edges]
        for number in range(bench.rounds + 1):
            ours.append([])
            bare.append([])
            for turn in range(TURNS):
                wish = Wish(made.account, "d0.test", "default", Kind.FILE, (f"http://d0.test/{number}/{turn}.jpg",))
                await log.append([wish], now=time.time())
                begun = time.perf_counter()
                await inside.settled(log, gates.edges, log.head)
                ours[-1].append(time.perf_counter() - begun)
                await asyncio.sleep(PAUSE_SECONDS)
                begun = time.perf_counter()
                await asyncio.gather(*[each.ask() for each in crowd])
                bare[-1].append(time.perf_counter() - begun)
                await asyncio.sleep(PAUSE_SECONDS)
    return ours[1:], bare[1:]  # the first does not count


class _Bare(asyncio.Protocol):
    """Sends bytes and waits for bytes."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    async def to(cls, address: str) -> _Bare:
        host, _, port = address.rpartition(":")
        _, made = await asyncio.get_running_loop().create_connection(cls, host, int(port))
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def ask(self) -> None:
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(QUESTION)
        await self._waiter
