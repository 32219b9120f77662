"""Edges that come, change and go while the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from freshline.ambient import Ambient
from freshline.delivery import fleet
from freshline.delivery.ages import Ages
from freshline.delivery.feed import Feed
from freshline.delivery.fleet import Fleet, Post
from freshline.delivery.lateness import Deadlines, Lateness
from freshline.delivery.origins import OriginSlots
from freshline.delivery.pace import Pace
from freshline.delivery.runner import EdgeRunner
from freshline.domain.edge import Edge, Progress
from freshline.domain.topology import Topology
from freshline.inventory.base import Inventory
from freshline.log.base import LogUnavailable
from freshline.log.memory import MemoryLog
from tests.unit.test_runner import Scripted

ONE = Edge("one", "scripted", "g", "127.0.0.1:1", "127.0.0.1:2", "secret")
TWO = replace(ONE, name="two")


class Full(MemoryLog):
    """A log whose disk is full."""

    full = True

    async def forget(self, edge: str, groups: Collection[str] = (), joined: int = 0) -> None:
        if self.full:
            raise LogUnavailable("disk full")
        await super().forget(edge, groups, joined)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_edge_that_cannot_be_forgotten_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else has changed is taken up at once; and when the log takes it, the edge is forgotten after all."""
    monkeypatch.setattr(fleet, "LOOK_SECONDS", 0.01)
    log, ambient, inventory = Full(), Ambient(), SimpleNamespace(topology=Topology((TWO, ONE)))
    lateness = Lateness(log, ambient, Ages(log, ambient), Deadlines())

    def runner(post: Post) -> EdgeRunner:
        parts: dict[str, Any] = {
            name: getattr(post, name) for name in ("scope", "above", "moved", "alarms", "settling")
        }
        more: dict[str, Any] = {"pace": Pace(), "lateness": lateness, "origins": OriginSlots()}
        return EdgeRunner(post.edge, Scripted(), log, Feed(log), ambient, **parts, **more)

    await log.settle("two", Progress(0))
    led = Fleet(cast(Inventory, inventory), log, runner)
    running = asyncio.create_task(led.run())
    await _until(lambda: set(led.runners) == {"one", "two"})

    moved = replace(ONE, gate="127.0.0.1:3")
    inventory.topology = Topology((moved,))
    await _until(lambda: led.runners["one"].edge == moved)
    inventory.topology = Topology((moved, replace(TWO, gate="127.0.0.1:4")))
    await asyncio.sleep(0.05)
    assert "two" not in led.runners, "it would begin where the other ended"

    log.full = False
    await _until(lambda: "two" in led.runners)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
