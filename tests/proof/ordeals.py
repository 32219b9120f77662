"""What the service goes through: killed, stopped, a full disk, a clock that is set, a log put back from an old copy."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
import time
from contextlib import AsyncExitStack

from tests.proof.world import SHORT, World, noted

STEPS = (-600, -30, 30, 600)  #: seconds; callers' own clocks stay right, and may be off by 15 minutes


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


async def fill_disk(world: World, dice: random.Random) -> None:
    """No file of the service may grow, as on a disk that is full: callers are refused, and nothing is lost."""
    async with world.service_turn, noted(world, "fill the service's disk", "service"):
        assert world.service.process is not None
        pid, unlimited = world.service.process.pid, resource.RLIM_INFINITY
        grown = (world.service.home / "log.db-wal").stat().st_size
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (grown, unlimited))
        try:
            await asyncio.sleep(dice.uniform(*SHORT))
            if dice.random() < 0.3:
                await asyncio.to_thread(world.service.kill)
                await asyncio.to_thread(world.service.start)
        finally:
            resource.prlimit(world.service.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))


async def step_clock(world: World, dice: random.Random) -> None:
    """The time of day is set, and later set right: two steps."""
    seconds = dice.choice(STEPS)
    async with world.service_turn, noted(world, "set the service's clock", "service", seconds=seconds):
        world.service.clock.set(seconds)
        try:
            await asyncio.sleep(dice.uniform(*SHORT))
        finally:
            world.service.clock.set(0)


async def put_back(world: World, dice: random.Random) -> None:
    """kill -9, and all that the service keeps is as it was a while ago. What was asked for since is not there.

    The inventory is among it, so the operator changes nothing meanwhile.
    """
    async with AsyncExitStack() as turns:
        for member in world.fleet.members:
            await turns.enter_async_context(member.duty_turn)
            if member.place.guest:
                await turns.enter_async_context(member.turn)
        await turns.enter_async_context(world.service_turn)
        copied = time.monotonic_ns()
        await asyncio.to_thread(world.service.back_up)
        await asyncio.sleep(dice.uniform(*SHORT))
        async with world.callers.silent(), noted(world, "put an old log back", "service"):
            await asyncio.to_thread(world.service.kill)
            await asyncio.to_thread(world.service.restore)
            world.recorder.note("put back", copied=copied)
            world.callers.forget(copied)
            await asyncio.to_thread(world.service.start)
    await world.callers.audit()
