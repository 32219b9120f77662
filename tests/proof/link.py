"""A stretch of network that can be cut: a forwarder between the service and a gate, or a child and its parents."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum

PIECE = 1 << 16


class Way(StrEnum):
    OPEN = "open"
    HOLD = "hold"  #: bytes stay on their way, and arrive when it is open again; nobody hangs up
    REFUSE = "refuse"  #: what is open breaks, and nobody gets through


class Link:
    """Each connection goes to one of the targets, by the dice."""

    def __init__(self, name: str, targets: Sequence[str], dice: random.Random) -> None:
        self.name, self.targets, self._dice = name, list(targets), dice
        self.way = Way.OPEN
        self._opened = asyncio.Event()
        self._opened.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Everything that is open breaks, now."""
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def set(self, way: Way) -> None:
        self.way = way
        if way is Way.HOLD:
            self._opened.clear()
        else:
            self._opened.set()
        if way is Way.REFUSE:
            await self.cut()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        far: asyncio.StreamWriter | None = None
        pumps: list[asyncio.Task[None]] = []
        try:
            if self.way is Way.REFUSE:
                return
            host, _, port = self._dice.choice(self.targets).rpartition(":")
            back, far = await asyncio.open_connection(host, int(port))
            pumps = [asyncio.create_task(self._pump(*pair)) for pair in ((reader, far), (back, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        except asyncio.CancelledError:
            pass
        finally:
            self._open.discard(task)
            for pump in pumps:
                pump.cancel()
            for end in (writer, far):
                if end is not None:
                    with suppress(OSError, RuntimeError):
                        end.transport.abort() if self.way is Way.REFUSE else end.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE):
                if self.way is Way.HOLD:
                    await self._opened.wait()
                sink.write(piece)
                await sink.drain()
