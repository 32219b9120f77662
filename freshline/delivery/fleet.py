"""One runner for every edge there is. Edges come and go while the service runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from freshline.alarms import Alarms
from freshline.delivery.events import Above
from freshline.delivery.runner import EdgeRunner
from freshline.delivery.settling import Settling
from freshline.domain.edge import Edge, Progress
from freshline.domain.ranges import Ranges
from freshline.domain.task import Task
from freshline.domain.topology import Scope, Topology
from freshline.inventory.base import Inventory
from freshline.log.base import Log, LogUnavailable

logger = logging.getLogger("freshline.delivery")

LOOK_SECONDS = 0.5  #: how soon a change of the inventory is taken up
RESTART_SECONDS = 1.0  #: a runner that broke is started anew after this


@dataclass(frozen=True, slots=True)
class Post:
    """What a runner is made of."""

    edge: Edge
    scope: Scope
    above: Above
    moved: Callable[[str], None]
    alarms: Alarms
    settling: Settling


class Fleet:
    """Starts, stops and restarts runners as the inventory says."""

    def __init__(self, inventory: Inventory, log: Log, make: Callable[[Post], EdgeRunner]) -> None:
        self._inventory, self.log, self._make = inventory, log, make
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.runners: dict[str, EdgeRunner] = {}
        self.topology = Topology(())
        self._followed: Topology | None = None  #: the one that everything was done for
        self._gone: dict[str, EdgeRunner] = {}  #: edges that were removed, and are not forgotten yet
        self._alarms, self._settling = Alarms(), Settling(log)
        self._hopeless: dict[str, Edge] = {}  #: complained of
        self._unforgotten = ""  #: likewise
        self.begun = False  #: every edge there was at the start has its runner
        log.on_append(self._wake)

    def _wake(self) -> None:
        for runner in self.runners.values():
            runner.wake()

    def _moved(self, name: str) -> None:
        for child in self.topology.children(name):
            if child in self.runners:
                self.runners[child].wake()

    # -- orders ---------------------------------------------------------------
    def retry(self, task: Task) -> dict[str, int]:
        """Do what edges gave up of a task after all: how many rows of which edge."""
        return self._order(
            task,
            lambda progress, rows: progress.failures(rows),
            lambda runner, rows: runner.retry(rows, prefetch=task.wish.kind.is_prefetch),
        )

    def cancel(self, task: Task) -> dict[str, int]:
        """Begin no more of a prefetch: how many rows of which edge were open. Some of them may be under way."""
        return self._order(
            task,
            lambda progress, rows: rows - progress.done() - progress.failures(rows),
            lambda runner, rows: runner.cancel(rows),
        )

    def _order(
        self,
        task: Task,
        concerned: Callable[[Progress, Ranges], Ranges],
        give: Callable[[EdgeRunner, Ranges], None],
    ) -> dict[str, int]:
        told: dict[str, int] = {}
        for edge in self.topology.taking(task.wish):
            runner = self.runners.get(edge.name)
            first = max(task.id, edge.joined + 1)
            if runner is not None and (rows := concerned(runner.machine.progress, Ranges([(first, task.last)]))):
                give(runner, rows)
                told[edge.name] = rows.size()
        return told

    async def run(self) -> None:
        """Until cancelled. What goes wrong with the inventory or one edge is logged, and tried again."""
        try:
            while True:
                try:
                    await self._follow(self._inventory.topology)
                except Exception:
                    logger.exception("could not follow the inventory; trying again")
                self.begun = True
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for name in list(self.runners):
                await self._stop(name)
            await self._settling.close()

    async def _follow(self, topology: Topology) -> None:
        if topology is self._followed and len(self.runners) == len(topology.edges):
            return
        self.topology = topology
        for name, runner in list(self.runners.items()):
            edge = topology.edges.get(name)
            if edge != runner.edge or topology.scope(name) != runner.scope:
                await self._stop(name)
                if edge is None:
                    self._gone[name] = runner
        await self._forget()
        for name, edge in topology.edges.items():
            if name not in self.runners and name not in self._gone:
                try:
                    self.runners[name] = self._made(edge)
                except Exception as error:
                    if self._hopeless.get(name) != edge:
                        logger.error("cannot drive %s, a %s: %r", name, edge.kind, error)
                        self._hopeless[name] = edge
                    continue
                self._tasks[name] = asyncio.create_task(self._keep(name), name=f"edge {name}")
        self._wake()  # one may have lost the parent that it waited for
        self._followed = None if self._gone else topology

    async def _forget(self) -> None:
        """One that comes back under its name must not begin where the other ended."""
        for name, runner in list(self._gone.items()):
            try:
                await self.log.forget(name, {group for group, _ in runner.scope.serves}, runner.edge.joined)
            except LogUnavailable as error:
                if self._unforgotten != name:
                    logger.warning("cannot forget %s: %s; trying again", name, error)
                    self._unforgotten = name
                return
            del self._gone[name]

    def _made(self, edge: Edge) -> EdgeRunner:
        scope, above = self.topology.scope(edge.name), Parents(self, edge.name)
        return self._make(Post(edge, scope, above, self._moved, self._alarms, self._settling))

    async def _keep(self, name: str) -> None:
        while True:
            try:
                await self.runners[name].run()
            except Exception:
                logger.exception("delivery to %s broke; starting it anew", name)
            await asyncio.sleep(RESTART_SECONDS)
            self.runners[name] = self._made(self.runners[name].edge)

    async def _stop(self, name: str) -> None:
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._settling.written()  # or who comes next would begin before it
        del self.runners[name]


class Parents:
    """How far an edge's parents are, as their runners have it; of one that cannot be driven, as the log has it."""

    def __init__(self, fleet: Fleet, edge: str) -> None:
        self._fleet, self._edge = fleet, edge
        self._topology: Topology | None = None  #: that the parents are of
        self._found: list[Edge] = []

    @property
    def _parents(self) -> list[Edge]:
        """Asked for at every turn, and others only when the inventory has changed."""
        topology = self._fleet.topology
        if topology is not self._topology:
            self._topology, self._found = topology, topology.parents(self._edge)
        return self._found

    def refreshed(self) -> float:
        """:class:`freshline.delivery.events.Above`, like the other"""
        parents = self._parents
        return min(map(self._refreshed, parents)) if parents else float("inf")

    def _refreshed(self, parent: Edge) -> int:
        runner = self._fleet.runners.get(parent.name)
        if runner is not None:
            return runner.machine.refreshed
        progress = self._fleet.log.progress(parent.name)
        return progress.cursor if progress else 0

    def warmed(self) -> float:
        return min(map(self._warmed, self._parents), default=float("inf"))

    def _warmed(self, parent: Edge) -> int:
        progress = self._progress(parent)
        return progress.cursor if progress is not None and not progress.again else 0

    def settled(self, position: int) -> bool:
        return all(self._settled(parent, position) for parent in self._parents)

    def _settled(self, parent: Edge, position: int) -> bool:
        progress = self._progress(parent)
        return progress is not None and (progress.settled(position) or progress.failure(position) is not None)

    def _progress(self, parent: Edge) -> Progress | None:
        runner = self._fleet.runners.get(parent.name)
        return runner.machine.progress if runner else self._fleet.log.progress(parent.name)
