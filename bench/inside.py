"""The service in this process, where a case has to look at its log while it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bench.service import Books, books
from freshline import wiring
from freshline.config import load
from freshline.domain.edge import Edge
from freshline.log.base import Log

PATIENCE_SECONDS = 120.0


@asynccontextmanager
async def service(home: Path, edges: Iterable[Edge]) -> AsyncIterator[tuple[Books, Log]]:
    """Started, with every edge up to date."""
    made = books(home, domains=1, edges=edges)
    settings = load(made.home / "freshline.toml", {})
    settings = replace(
        settings,
        service=replace(settings.service, data_dir=str(made.home)),
        gates=replace(settings.gates, fetches_per_domain=64),
    )
    async with wiring.service(settings) as (app, fleet):
        await _until(lambda: fleet.begun and all(runner.fresh for runner in fleet.runners.values()), 0.02)
        yield made, app.desk.log


async def settled(log: Log, edges: Iterable[Edge], position: int, look_seconds: float = 0.001) -> None:
    """Return once all of them are done with everything up to a position, on the disk.

    :param look_seconds: so often; each look is work of this process
    """
    for edge in edges:

        def is_done(name: str = edge.name) -> bool:
            progress = log.progress(name)
            return progress is not None and progress.cursor >= position

        await _until(is_done, look_seconds)


async def _until(is_so: Callable[[], bool], look_seconds: float) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if is_so():
                return
            await asyncio.sleep(look_seconds)
