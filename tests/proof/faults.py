"""What goes wrong, chosen by dice from a seed. Each fault ends what it began, and is written down with its two moments.

Several are under way at once, each on its own part of the world: a process, a network, the origin, the service, an
order of the operator's.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.proof.callers import Callers
from tests.proof.fleet import Fleet, Member
from tests.proof.link import Link, Way
from tests.proof.origin import Mood, Origin
from tests.proof.recorder import Recorder
from tests.proof.service import REFRESH_SECONDS, Service
from tests.proof.visitors import Visitors

AT_ONCE = 3
SHORT = (0.1, 3.0)  #: seconds that most of them last
TAKEN_UP_SECONDS = 1.5  #: after which the service goes by a changed inventory
QUIET = (0.2, 1.5)  #: between two of the same hand


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


async def strike(world: World, name: str, dice: random.Random) -> None:
    """One fault, from its beginning to its end."""
    await FAULTS[name][1](world, dice)


async def keep_striking(world: World, seed: int, hand: int, names: list[str]) -> None:
    """Until it is over."""
    dice = random.Random(f"{seed} hand {hand}")
    weights = [FAULTS[name][0] for name in names]
    while not world.over:
        await asyncio.sleep(dice.uniform(*QUIET))
        if not world.over:
            await strike(world, dice.choices(names, weights)[0], dice)


@asynccontextmanager
async def noted(world: World, kind: str, target: str, **more: object) -> AsyncIterator[None]:
    began = world.recorder.note("fault", kind=kind, target=target, **more)
    world.counts[kind] = world.counts.get(kind, 0) + 1
    try:
        yield
    finally:
        world.recorder.note("mended", kind=kind, target=target, began=began)


def _standing(world: World, dice: random.Random) -> Member:
    """One that is there, guest or not."""
    return dice.choice([member for member in world.fleet.members if not member.place.guest])


# -- processes ------------------------------------------------------------------
async def kill_server(world: World, dice: random.Random) -> None:
    """kill -9 of all its processes; it comes back with the disk it had."""
    member = _standing(world, dice)
    async with member.turn, noted(world, "kill a server", member.name):
        await member.do("kill")
        await asyncio.sleep(dice.uniform(0, 2))
        await member.do("start")


async def kill_worker(world: World, dice: random.Random) -> None:
    member = _standing(world, dice)
    async with member.turn, noted(world, "kill a worker", member.name):
        member.kill_worker(dice)
        await asyncio.sleep(1)
        if member.dead:  # Squid gives up when its helper ends too often; whoever runs it starts it again
            await member.do("kill")
            await member.do("start")


async def pause_server(world: World, dice: random.Random) -> None:
    """SIGSTOP: it neither reads nor answers, and nobody's connection breaks."""
    member = _standing(world, dice)
    async with member.turn, noted(world, "pause a server", member.name):
        member.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(dice.uniform(*SHORT))
        finally:
            member.signal(signal.SIGCONT)


async def restart_server(world: World, dice: random.Random) -> None:
    member = _standing(world, dice)
    async with member.turn, noted(world, "restart a server", member.name):
        await member.do("restart")


async def reload_server(world: World, dice: random.Random) -> None:
    member = _standing(world, dice)
    async with member.turn, noted(world, "reload a server", member.name):
        await member.do("reload")


async def lose_journal(world: World, dice: random.Random) -> None:
    """A server that keeps its disk, and loses what its gate knew of it."""
    found = [member for member in world.fleet.members if hasattr(member.server, "journal") and not member.place.guest]
    if not found:
        return
    member = dice.choice(found)
    async with member.turn, noted(world, "lose a journal", member.name):
        await member.do("kill")
        member.server.journal.unlink(missing_ok=True)  # type: ignore[attr-defined]
        await member.do("start")


# -- networks -------------------------------------------------------------------
async def _part(link: Link, turn: asyncio.Lock, kind: str, world: World, dice: random.Random, seconds: float) -> None:
    way = dice.choice((Way.HOLD, Way.REFUSE))
    async with turn, noted(world, kind, link.name, way=way.value):
        await link.set(way)
        try:
            await asyncio.sleep(seconds)
            if way is Way.HOLD and dice.random() < 0.5:
                await link.cut()  # what was on its way never arrives
        finally:
            await link.set(Way.OPEN)


async def part_gate(world: World, dice: random.Random) -> None:
    member = _standing(world, dice)
    await _part(member.gate, member.gate_turn, "cut off a gate", world, dice, dice.uniform(*SHORT))


async def part_gate_for_long(world: World, dice: random.Random) -> None:
    """Longer than any task waits."""
    member = _standing(world, dice)
    seconds = REFRESH_SECONDS + dice.uniform(1, 5)
    await _part(member.gate, member.gate_turn, "cut off a gate for long", world, dice, seconds)


async def part_parents(world: World, dice: random.Random) -> None:
    """A child from its parents, a parent from the origin."""
    member = _standing(world, dice)
    await _part(member.up, member.up_turn, "cut off from above", world, dice, dice.uniform(*SHORT))


async def break_connections(world: World, dice: random.Random) -> None:
    member = _standing(world, dice)
    link = dice.choice((member.gate, member.up))
    async with noted(world, "break connections", link.name):
        await link.cut()


# -- the origin -----------------------------------------------------------------
def _origin(kind: str, **mood: float) -> Fault:
    async def fault(world: World, dice: random.Random) -> None:
        async with world.origin_turn, noted(world, kind, "origin"):
            world.origin.mood = Mood(**mood)
            try:
                await asyncio.sleep(dice.uniform(*SHORT))
            finally:
                world.origin.mood = Mood()

    return fault


# -- the service ----------------------------------------------------------------
async def kill_service(world: World, dice: random.Random) -> None:
    """kill -9. Every id that it ever answered has to be there afterwards."""
    async with world.service_turn, noted(world, "kill the service", "service"):
        await asyncio.to_thread(world.service.kill)
        await asyncio.sleep(dice.uniform(0, 1))
        await asyncio.to_thread(world.service.start)
    await world.callers.audit()


async def pause_service(world: World, dice: random.Random) -> None:
    async with world.service_turn, noted(world, "pause the service", "service"):
        assert world.service.process is not None
        world.service.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(dice.uniform(*SHORT))
        finally:
            world.service.process.send_signal(signal.SIGCONT)


# -- the operator ---------------------------------------------------------------
async def pause_edge(world: World, dice: random.Random) -> None:
    """It is told nothing; tasks wait for it, and visitors go on."""
    member = _standing(world, dice)
    async with member.duty_turn, noted(world, "freshline edge pause", member.name):
        await world.service.order("pause", member.name)
        await asyncio.sleep(dice.uniform(*SHORT))
        await world.service.order("resume", member.name)


async def drain_edge(world: World, dice: random.Random) -> None:
    """Out of rotation first, since nothing waits for it then; in again when it says that it is fresh."""
    member = dice.choice(world.fleet.leaves())
    async with member.duty_turn, noted(world, "freshline edge drain", member.name):
        await world.visitors.take_out(member)
        await world.service.order("drain", member.name)
        await asyncio.sleep(dice.uniform(*SHORT))
        await world.service.order("resume", member.name)
        await world.visitors.put_in(member)


async def drain_what_is_cut_off(world: World, dice: random.Random) -> None:
    """It misses what is refreshed meanwhile, and is asked whether it is fresh as soon as it is back."""
    member = dice.choice(world.fleet.leaves())
    async with member.duty_turn, member.gate_turn, noted(world, "drain while cut off", member.name):
        await world.visitors.take_out(member)
        await member.gate.set(Way.REFUSE)
        try:
            await world.service.order("drain", member.name)
            await asyncio.sleep(dice.uniform(0, 2))
            await world.service.order("resume", member.name)
        finally:
            await member.gate.set(Way.OPEN)
        await world.visitors.put_in(member)


async def change_parents(world: World, dice: random.Random) -> None:
    """A child is moved from its parents to others and back: it waits for both while it is moved."""
    shields = {name: world.fleet[name] for member in world.fleet.members for name in member.place.parents}
    children = [member for member in world.fleet.leaves() if member.place.parents]
    if not children:
        return
    member = dice.choice(children)
    other = dice.choice(sorted(shields))
    async with member.duty_turn, noted(world, "freshline edge set --parent", member.name):
        for parents in ((other,), member.place.parents):
            await world.service.order("set", member.name, *_parents({*shields}))
            await asyncio.sleep(TAKEN_UP_SECONDS)
            member.up.targets = [shields[name].site for name in parents]
            await member.up.cut()
            await world.service.order("set", member.name, *_parents(parents))
            await asyncio.sleep(dice.uniform(*SHORT))


def _parents(names: Iterable[str]) -> list[str]:
    return [word for name in sorted(names) for word in ("--parent", name)]


async def guest(world: World, dice: random.Random) -> None:
    """A server joins, new or with the disk of its last visit, and leaves again; now and then it is back at once."""
    members = [member for member in world.fleet.members if member.place.guest]
    if not members:
        return
    member = dice.choice(members)
    async with member.turn, noted(world, "freshline edge add and remove", member.name):
        await member.do("start")
        await world.service.add(member)
        await world.visitors.put_in(member)
        await asyncio.sleep(dice.uniform(1, 6))
        await _remove(world, member)
        if dice.random() < 0.5:
            await asyncio.sleep(dice.uniform(0, 1))
            await world.service.add(member)
            await world.visitors.put_in(member)
            await asyncio.sleep(dice.uniform(1, 3))
            await _remove(world, member)
        await member.do(dice.choice(("stop", "kill")))


async def _remove(world: World, member: Member) -> None:
    """As docs/operations.md has it: drained first, and removed when it is not fresh any more."""
    await world.visitors.take_out(member)
    await world.service.order("drain", member.name)
    while await member.fresh():
        await asyncio.sleep(0.05)
    await world.service.order("remove", member.name)


FAULTS: dict[str, tuple[int, Fault]] = {
    "kill a server": (6, kill_server),
    "kill a worker": (4, kill_worker),
    "pause a server": (5, pause_server),
    "restart a server": (4, restart_server),
    "reload a server": (3, reload_server),
    "lose a journal": (2, lose_journal),
    "cut off a gate": (6, part_gate),
    "cut off a gate for long": (1, part_gate_for_long),
    "cut off from above": (5, part_parents),
    "break connections": (4, break_connections),
    "slow headers": (3, _origin("slow headers", headers_seconds=2.0)),
    "slow bodies": (3, _origin("slow bodies", body_seconds=2.0)),
    "origin errors": (3, _origin("origin errors", errors=0.6)),
    "cut bodies": (3, _origin("cut bodies", cuts=0.5)),
    "kill the service": (4, kill_service),
    "pause the service": (2, pause_service),
    "freshline edge pause": (3, pause_edge),
    "freshline edge drain": (3, drain_edge),
    "freshline edge add and remove": (3, guest),
    "freshline edge set --parent": (2, change_parents),
    "drain while cut off": (3, drain_what_is_cut_off),
}
FEW = ["kill a server", "cut off a gate", "kill the service", "slow bodies", "reload a server", "pause a server"]
