"""Asking gates whether they have an object, from the command line. No origin is asked anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from freshline.domain.action import Fetch
from freshline.domain.edge import Edge
from freshline.domain.target import parse
from freshline.drivers.base import Driver, Probed, Trouble
from freshline.wiring import driver

AT_ONCE = 100  #: gates


def probe(
    edges: Sequence[Edge], urls: Sequence[str], headers: tuple[tuple[str, str], ...] = ()
) -> list[dict[str, Probed | Trouble]]:
    """For each edge, what its gate says of each URL.

    :raises freshline.domain.target.BadTarget: one of them is none
    """
    wanted = {}
    for url in urls:
        at = parse(url)
        wanted[url] = Fetch(0, at.scheme or "http", at.domain, at.request_target(), headers)

    async def one(edge: Edge, turn: asyncio.Semaphore) -> dict[str, Probed | Trouble]:
        async with turn:
            gate = driver(edge)
            try:
                return await _ask(gate, wanted)
            finally:
                await gate.close()

    async def every() -> list[dict[str, Probed | Trouble]]:
        turn = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(one(edge, turn) for edge in edges))

    return asyncio.run(every())


async def _ask(gate: Driver, wanted: dict[str, Fetch]) -> dict[str, Probed | Trouble]:
    answers: dict[str, Probed | Trouble] = {}
    for url, fetch in wanted.items():
        answer = answers[url] = await gate.probe(fetch)
        if isinstance(answer, Trouble):
            return dict.fromkeys(wanted, answer) | answers  # it is the gate's trouble, and the next would be the same
    return answers
