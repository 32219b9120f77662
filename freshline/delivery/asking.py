"""How a runner speaks to a driver that has no calls of its own for it: in a task for each question."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from freshline.drivers.base import Adrift, Applied, Batch, Driver, Fault, Gate, Lease, Trouble

T = TypeVar("T")

logger = logging.getLogger("freshline.delivery")


class InTasks:
    """:class:`freshline.drivers.base.Prompt` for any driver, and its flushes, which are rare."""

    def __init__(self, edge: str, driver: Driver) -> None:
        self._edge, self._driver = edge, driver
        self._doing: set[asyncio.Task[None]] = set()

    def ask(self, lease: Lease | None, done: Callable[[Gate | Trouble], None]) -> None:
        self.start(self._tell(self._driver.status(lease), done))

    def tell(self, batch: Batch, lease: Lease | None, done: Callable[[Applied | Adrift | Trouble], None]) -> None:
        self.start(self._tell(self._driver.apply(batch, lease), done))

    def flush(self, log: str, position: int, mark: str, done: Callable[[Applied | Trouble], None]) -> None:
        self.start(self._tell(self._driver.flush(log, position, mark), done))

    def start(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """It is cancelled when this is closed."""
        doing = asyncio.get_running_loop().create_task(what)
        self._doing.add(doing)
        doing.add_done_callback(self._doing.discard)
        return doing

    async def close(self) -> None:
        for doing in list(self._doing):
            doing.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)

    async def _tell(self, call: Coroutine[Any, Any, Any], done: Callable[[Any], None]) -> None:
        done(await self.call(call))

    async def call(self, call: Coroutine[Any, Any, T]) -> T | Trouble:
        """A fault of ours in a driver is told as the edge's trouble, so the machine goes on, and is logged as ours."""
        try:
            return await call
        except Exception as error:
            return self.broke(error)

    def broke(self, error: Exception) -> Trouble:
        logger.error("the driver of %s broke", self._edge, exc_info=error)
        return Trouble(Fault.FAILED, f"driver: {error!r}")
