"""What the operator does to edges while tasks run: each verb of the command line, done as docs/operations.md has it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack

from tests.proof.fleet import Member
from tests.proof.link import Way
from tests.proof.world import SHORT, World, noted, standing

TAKEN_UP_SECONDS = 1.5  #: after which the service goes by a changed inventory


async def pause_edge(world: World, dice: random.Random) -> None:
    """It is told nothing; tasks wait for it, and visitors go on."""
    member = standing(world, dice)
    async with member.duty_turn, noted(world, "freshline edge pause", member.name):
        await world.service.edge("pause", member.name)
        await asyncio.sleep(dice.uniform(*SHORT))
        await world.service.edge("resume", member.name)


async def drain_edge(world: World, dice: random.Random) -> None:
    """Out of rotation first, since nothing waits for it then; in again when it says that it is fresh."""
    member = dice.choice(world.fleet.leaves())
    async with member.duty_turn, noted(world, "freshline edge drain", member.name):
        await world.visitors.take_out(member)
        await world.service.edge("drain", member.name)
        await asyncio.sleep(dice.uniform(*SHORT))
        await world.service.edge("resume", member.name)
        await world.visitors.put_in(member)


async def drain_what_is_cut_off(world: World, dice: random.Random) -> None:
    """It misses what is refreshed meanwhile, and is asked whether it is fresh as soon as it is back."""
    member = dice.choice(world.fleet.leaves())
    async with member.duty_turn, member.gate_turn, noted(world, "drain while cut off", member.name):
        await world.visitors.take_out(member)
        await member.gate.set(Way.REFUSE)
        try:
            await world.service.edge("drain", member.name)
            await asyncio.sleep(dice.uniform(0, 2))
            await world.service.edge("resume", member.name)
        finally:
            await member.gate.set(Way.OPEN)
        await world.visitors.put_in(member)


async def change_parents(world: World, dice: random.Random) -> None:
    """A child is moved from its parents to others and back: it waits for both while it is moved."""
    children = [member for member in world.fleet.leaves() if member.place.parents]
    if not children:
        return
    member = dice.choice(children)
    other = dice.choice(world.fleet.parents())
    async with member.duty_turn, noted(world, "freshline edge set --parent", member.name):
        for parents in ([other], [world.fleet[name] for name in member.place.parents]):
            await _move(world, {member: parents})
            await asyncio.sleep(dice.uniform(*SHORT))


async def drain_parent(world: World, dice: random.Random) -> None:
    """Its children get the others for parents first, and get it back when it says that it is fresh."""
    parents = world.fleet.parents()
    if len(parents) < 2:
        return
    member = dice.choice(parents)
    others = [parent for parent in parents if parent is not member]
    async with AsyncExitStack() as turns:
        for each in world.fleet.members:  # in this order, as whoever else takes several
            if each is member or member.name in each.place.parents:
                await turns.enter_async_context(each.turn if each.place.guest else each.duty_turn)
        children = [
            child for child in world.fleet.members if member.name in child.place.parents and not child.place.guest
        ]
        await turns.enter_async_context(noted(world, "drain a parent", member.name))
        await _move(world, dict.fromkeys(children, others))
        await world.visitors.take_out(member)
        await world.service.edge("drain", member.name)
        await asyncio.sleep(dice.uniform(*SHORT))
        await world.service.edge("resume", member.name)
        await world.visitors.put_in(member)
        await _move(world, {child: [world.fleet[name] for name in child.place.parents] for child in children})


async def _move(world: World, moves: Mapping[Member, Sequence[Member]]) -> None:
    """Each child to its parents. While they are moved they wait for every parent that there is."""
    every = _parents(world.fleet.parents())
    await asyncio.gather(*(world.service.edge("set", child.name, *every) for child in moves))
    await asyncio.sleep(TAKEN_UP_SECONDS)
    for child, parents in moves.items():
        child.up.targets = [parent.site for parent in parents]
        await child.up.cut()
    await asyncio.gather(*(world.service.edge("set", child.name, *_parents(moves[child])) for child in moves))


def _parents(members: Iterable[Member]) -> list[str]:
    return [word for member in members for word in ("--parent", member.name)]


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
    await world.service.edge("drain", member.name)
    while await member.fresh():
        await asyncio.sleep(0.05)
    await world.service.edge("remove", member.name)
