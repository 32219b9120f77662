"""What faults work on, and how they are written down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.proof.callers import Callers
from tests.proof.fleet import Fleet, Member
from tests.proof.origin import Origin
from tests.proof.recorder import Recorder
from tests.proof.service import Service
from tests.proof.visitors import Visitors

SHORT = (0.1, 3.0)  #: seconds that most faults last


@dataclass
class World:
    fleet: Fleet
    origin: Origin
    service: Service
    callers: Callers
    visitors: Visitors
    recorder: Recorder
    service_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    origin_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    counts: dict[str, int] = field(default_factory=dict)
    over: bool = False


Fault = Callable[[World, random.Random], Awaitable[None]]


@asynccontextmanager
async def noted(world: World, kind: str, target: str, **more: object) -> AsyncIterator[None]:
    began = world.recorder.note("fault", kind=kind, target=target, **more)
    world.counts[kind] = world.counts.get(kind, 0) + 1
    try:
        yield
    finally:
        world.recorder.note("mended", kind=kind, target=target, began=began)


def standing(world: World, dice: random.Random) -> Member:
    """One that is always there."""
    return dice.choice([member for member in world.fleet.members if not member.place.guest])
