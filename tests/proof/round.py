"""One round: a fleet is started, worked, hurt, left to recover, and stopped. What is left of it is its recording."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proof import faults
from tests.proof.callers import Callers
from tests.proof.fleet import Fleet, Place
from tests.proof.origin import Origin
from tests.proof.recorder import Recorder
from tests.proof.service import PREFETCH_SECONDS, REFRESH_SECONDS, Service
from tests.proof.universe import pages
from tests.proof.visitors import Visitors
from tests.proof.warm import AFTER_SECONDS
from tests.proof.world import World

THREADS = 48
LEASE_HEARTBEATS = (2, 5, 20)  #: of 0.3 s
SETTLE_SECONDS = REFRESH_SECONDS + PREFETCH_SECONDS + 60.0
AFTERWARDS_SECONDS = 1.0  #: of reading, when everything has ended
WARMED = 30  #: pages


@dataclass(frozen=True)
class Plan:
    seed: int
    seconds: float
    places: Sequence[Place]
    blind: str = ""  #: the kind of server whose gate does not judge
    wrong: Sequence[str] = ()  #: names of faults
    hands: int = faults.AT_ONCE
    readers: int = 2
    rate: int = 0  #: the most reads in a second; 0: as many as there can be
    callers: int = 3
    pause_seconds: float = 0.3  #: of a caller between two calls, on average


def play(plan: Plan, home: Path) -> None:
    """Record into ``home``, an empty directory."""

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        await _play(plan, home)

    asyncio.run(run())


async def _play(plan: Plan, home: Path) -> None:
    recorder = Recorder(home)
    universe = pages()
    recorder.note(
        "begin",
        seed=plan.seed,
        blind=plan.blind,
        pages=[page.as_json() for page in universe],
        refresh_seconds=REFRESH_SECONDS,
        prefetch_seconds=PREFETCH_SECONDS,
    )
    origin = Origin(universe, recorder, random.Random(f"{plan.seed} origin"))
    await origin.start()
    fleet = Fleet(home, origin, plan.places, random.Random(f"{plan.seed} fleet"), plan.blind)
    visitors = Visitors(home, universe, recorder, plan.seed, plan.readers, plan.rate, fleet.trusted)
    service: Service | None = None
    try:
        await asyncio.gather(fleet.start(), visitors.start())
        lease = random.Random(f"{plan.seed} lease").choice(LEASE_HEARTBEATS)
        service = Service(home / "service", fleet.members, lease)
        await asyncio.to_thread(service.start)
        callers = Callers(service, origin, recorder, universe, plan.seed, plan.callers, plan.pause_seconds)
        world = World(fleet, origin, service, callers, visitors, recorder)
        await asyncio.gather(*(visitors.put_in(member) for member in fleet.members if not member.place.guest))
        await _live(plan, world)
        await visitors.stop()
        recorder.note("over", origin=origin.served)
        await asyncio.to_thread(service.stop)
    finally:
        await visitors.kill()
        if service is not None:
            await asyncio.to_thread(service.kill)
        await fleet.stop()
        await origin.stop()
        recorder.close()


async def _live(plan: Plan, world: World) -> None:
    background = [
        asyncio.create_task(world.callers.watch()),
        asyncio.create_task(_sample(world)),
        asyncio.create_task(_show(plan, world)),
    ]
    asking = asyncio.create_task(world.callers.ask())
    hands = [
        asyncio.create_task(faults.keep_striking(world, plan.seed, hand, list(plan.wrong)))
        for hand in range(plan.hands if plan.wrong else 0)
    ]
    try:
        await _all_of_them_or(asyncio.sleep(plan.seconds), [asking, *background, *hands])
        world.over = world.callers.enough = True
        await _all_of_them_or(asyncio.gather(asking, *hands), background)
        await _all_of_them_or(_settled(world), background)
        await _all_of_them_or(_warm(world), background)
        await asyncio.sleep(AFTERWARDS_SECONDS)
        await world.callers.audit()
    finally:
        for task in (asking, *hands, *background):
            task.cancel()
        await asyncio.gather(asking, *hands, *background, return_exceptions=True)


async def _all_of_them_or(what: Awaitable[object], others: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the first; what breaks among the others breaks all."""
    first = asyncio.ensure_future(what)
    waiting: set[asyncio.Future[Any]] = {first, *others}
    while not first.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    first.result()


async def _settled(world: World) -> None:
    """What never ends is the checker's to say."""
    until = time.monotonic() + SETTLE_SECONDS
    while world.callers.waiting and time.monotonic() < until:
        await asyncio.sleep(0.1)


async def _warm(world: World) -> None:
    """In the quiet at the end: what is prefetched now has to be a hit wherever visitors ask."""
    await asyncio.sleep(AFTER_SECONDS)
    await world.callers.warm(WARMED)
    await _settled(world)


async def _sample(world: World) -> None:
    """Once a second: reads so far, and how far each edge is behind."""
    while True:
        await asyncio.sleep(1)
        try:
            lags = await asyncio.to_thread(world.service.metrics)
        except OSError:
            lags = {}
        world.recorder.note(
            "sample",
            read=world.visitors.read,
            failed=world.visitors.failed,
            answered=len(world.callers.answered),
            ended=world.callers.ended,
            lags=lags,
        )


async def _show(plan: Plan, world: World) -> None:
    began = time.monotonic()
    tty = sys.stderr.isatty()
    while True:
        await asyncio.sleep(1 if tty else 10)
        line = (
            f"  seed {plan.seed}  {time.monotonic() - began:4.0f} of {plan.seconds:.0f} s  "
            f"{world.visitors.read:,} reads, {world.visitors.failed:,} failed  "
            f"{world.callers.ended} of {len(world.callers.answered)} tasks ended  {sum(world.counts.values())} faults"
        )
        print(f"\r{line}\x1b[K" if tty else line, end="" if tty else "\n", file=sys.stderr, flush=True)
