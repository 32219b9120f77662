"""One runner for every edge there is. Edges come and go while the service runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from freshline.delivery.runner import EdgeRunner
from freshline.domain.edge import Edge
from freshline.inventory.base import Inventory
from freshline.log.base import Log

logger = logging.getLogger("freshline.delivery")

LOOK_SECONDS = 0.5  #: how soon a change of the inventory is taken up
RESTART_SECONDS = 1.0  #: a runner that broke is started anew after this


class Fleet:
    """Starts, stops and restarts runners as the inventory says."""

    def __init__(self, inventory: Inventory, log: Log, make: Callable[[Edge], EdgeRunner]) -> None:
        self._inventory, self._log, self._make = inventory, log, make
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.runners: dict[str, EdgeRunner] = {}
        self._hopeless: dict[str, Edge] = {}  #: complained of
        self.begun = False  #: every edge there was at the start has its runner
        log.on_append(self._wake)

    def _wake(self) -> None:
        for runner in self.runners.values():
            runner.wake()

    async def run(self) -> None:
        """Until cancelled. What goes wrong with the inventory or one edge is logged, and tried again."""
        try:
            while True:
                try:
                    await self._follow({edge.name: edge for edge in self._inventory.edges()})
                except Exception:
                    logger.exception("could not follow the inventory; trying again")
                self.begun = True
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for name in list(self.runners):
                await self._stop(name)

    async def _follow(self, wanted: Mapping[str, Edge]) -> None:
        for name, runner in list(self.runners.items()):
            if wanted.get(name) != runner.edge:
                await self._stop(name)
                if name not in wanted:
                    await self._log.forget(name)
        for name, edge in wanted.items():
            if name not in self.runners:
                try:
                    self.runners[name] = self._make(edge)
                except Exception as error:
                    if self._hopeless.get(name) != edge:
                        logger.error("cannot drive %s, a %s: %r", name, edge.kind, error)
                        self._hopeless[name] = edge
                    continue
                self._tasks[name] = asyncio.create_task(self._keep(name), name=f"edge {name}")

    async def _keep(self, name: str) -> None:
        while True:
            try:
                await self.runners[name].run()
            except Exception:
                logger.exception("delivery to %s broke; starting it anew", name)
            await asyncio.sleep(RESTART_SECONDS)
            self.runners[name] = self._make(self.runners[name].edge)

    async def _stop(self, name: str) -> None:
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del self.runners[name]
