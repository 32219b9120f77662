"""The service in this process, where a case has to look at its log while it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
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
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (fleet.begun and all(runner.fresh for runner in fleet.runners.values())):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield made, app.desk.log


async def settled(log: Log, edges: Iterable[Edge], position: int, look_seconds: float = 0.001) -> None:
    """Return once all of them are done with everything up to a position, on the disk.

    :param look_seconds: so often; each look is work of this process
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        for edge in edges:
            while (progress := log.progress(edge.name)) is None or progress.cursor < position:  # noqa: ASYNC110
                await asyncio.sleep(look_seconds)
