"""What goes wrong, chosen by dice from a seed. Each fault ends what it began, and is written down with its two moments.

Several are under way at once, each on its own part of the world: a process, a network, the origin, the service, an
order of the operator's.
"""

from __future__ import annotations

import asyncio
import random
import signal

from tests.proof import ordeals, verbs
from tests.proof.link import Link, Way
from tests.proof.origin import Mood
from tests.proof.service import REFRESH_SECONDS
from tests.proof.world import SHORT, Fault, World, noted, standing

AT_ONCE = 3
STEPS = (-86_400, -600, -5, 5, 600, 86_400)  #: seconds that the clock of a cache is set by
QUIET = (0.2, 1.5)  #: between two of the same hand


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


# -- processes ------------------------------------------------------------------
async def kill_server(world: World, dice: random.Random) -> None:
    """kill -9 of all its processes; it comes back with the disk it had."""
    member = standing(world, dice)
    async with member.turn, noted(world, "kill a server", member.name):
        await member.do("kill")
        await asyncio.sleep(dice.uniform(0, 2))
        await member.do("start")


async def kill_worker(world: World, dice: random.Random) -> None:
    member = standing(world, dice)
    async with member.turn, noted(world, "kill a worker", member.name):
        member.kill_worker(dice)
        await asyncio.sleep(1)
        if member.dead:  # Squid gives up when its helper ends too often; whoever runs it starts it again
            await member.do("kill")
            await member.do("start")


async def pause_server(world: World, dice: random.Random) -> None:
    """SIGSTOP: it neither reads nor answers, and nobody's connection breaks."""
    member = standing(world, dice)
    async with member.turn, noted(world, "pause a server", member.name):
        member.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(dice.uniform(*SHORT))
        finally:
            member.signal(signal.SIGCONT)


async def restart_server(world: World, dice: random.Random) -> None:
    member = standing(world, dice)
    async with member.turn, noted(world, "restart a server", member.name):
        await member.do("restart")


async def reload_server(world: World, dice: random.Random) -> None:
    member = standing(world, dice)
    async with member.turn, noted(world, "reload a server", member.name):
        await member.do("reload")


async def lose_journal(world: World, dice: random.Random) -> None:
    """A server that keeps its disk, and loses what its gate knew of it."""
    owned = (member for member in world.fleet.members if not member.place.guest)
    found = [(each, journal) for each in owned if (journal := getattr(each.server, "journal", None)) is not None]
    if not found:
        return
    member, journal = dice.choice(found)
    async with member.turn, noted(world, "lose a journal", member.name):
        await member.do("kill")
        journal.unlink(missing_ok=True)
        await member.do("start")


async def step_clock(world: World, dice: random.Random) -> None:
    """The time of day of a cache is set, and later set right: two steps."""
    member = next((member for member in world.fleet.members if member.clock is not None), None)
    if member is None or member.clock is None:
        return
    seconds = dice.choice(STEPS)
    async with member.turn, noted(world, "set a cache's clock", member.name, seconds=seconds):
        member.clock.set(seconds)
        try:
            await asyncio.sleep(dice.uniform(*SHORT))
        finally:
            member.clock.set(0)
        await asyncio.sleep(1)
        if member.dead:
            await member.do("kill")
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
    member = standing(world, dice)
    await _part(member.gate, member.gate_turn, "cut off a gate", world, dice, dice.uniform(*SHORT))


async def part_gate_for_long(world: World, dice: random.Random) -> None:
    """Longer than any task waits."""
    member = standing(world, dice)
    seconds = REFRESH_SECONDS + dice.uniform(1, 5)
    await _part(member.gate, member.gate_turn, "cut off a gate for long", world, dice, seconds)


async def part_parents(world: World, dice: random.Random) -> None:
    """A child from its parents, a parent from the origin."""
    member = standing(world, dice)
    await _part(member.up, member.up_turn, "cut off from above", world, dice, dice.uniform(*SHORT))


async def break_connections(world: World, dice: random.Random) -> None:
    member = standing(world, dice)
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
    "set a cache's clock": (3, step_clock),
    "kill the service": (4, ordeals.kill_service),
    "pause the service": (2, ordeals.pause_service),
    "fill the service's disk": (2, ordeals.fill_disk),
    "set the service's clock": (3, ordeals.step_clock),
    "put an old log back": (2, ordeals.put_back),
    "freshline edge pause": (3, verbs.pause_edge),
    "freshline edge drain": (3, verbs.drain_edge),
    "drain a parent": (2, verbs.drain_parent),
    "freshline edge add and remove": (3, verbs.guest),
    "freshline edge set --parent": (2, verbs.change_parents),
    "drain while cut off": (3, verbs.drain_what_is_cut_off),
}
LONG = ("drain a parent", "put an old log back")  #: take ten seconds and more; not in the short form
