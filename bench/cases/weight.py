"""What the service takes while it has much to do, and while it has nothing to do."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench.gates import Gates
from bench.harness import Bench, Line, single
from bench.process import cpu, memory, resident
from bench.service import Books, Service, books, url
from freshline.domain.task import Kind, Wish

EDGES = 1_000
FEW = 4
TASK_ROWS = 1_000
QUIET = {"FRESHLINE_SERVICE_LOG_LEVEL": "error"}


def run(bench: Bench) -> list[Line]:
    return [*_laden(bench), *_idle(bench, FEW), *_idle(bench, EDGES)]


def _laden(bench: Bench) -> list[Line]:
    """The gates take the connection and never answer a batch: every row is on its way to every edge."""
    rows = bench.pick(100_000, 1_000_000)
    with tempfile.TemporaryDirectory() as name, Gates(Path(name), EDGES, deaf=True) as gates:
        made = books(Path(name) / "books", domains=1, edges=gates.edges)
        asyncio.run(_fill(made, rows))
        seen: list[float] = []
        with Service(made, QUIET) as service:
            deadline = time.monotonic() + bench.pick(10, 45)  # past the first time-outs of batches
            while time.monotonic() < deadline:
                seen.append(resident(service.pid))
                time.sleep(0.5)
            own = memory(service.pid)
    what = f"resident memory, {rows:,} unfinished rows on {EDGES:,} edges"
    return [single("weight.laden", what, "", [max(seen)], reach=300, unit="MB", own=round(own, 1))]


async def _fill(made: Books, rows: int) -> None:
    log = made.open_log()
    for at in range(0, rows, TASK_ROWS):
        domain = 0
        paths = tuple(url(domain, number) for number in range(at, at + TASK_ROWS))
        await log.append([Wish(made.account, f"d{domain}.test", "default", Kind.FILE, paths)], now=time.time())
    await log.close()


def _idle(bench: Bench, edges: int) -> list[Line]:
    with tempfile.TemporaryDirectory() as name, Gates(Path(name), edges) as gates:
        made = books(Path(name) / "books", domains=1, edges=gates.edges)
        with Service(made, QUIET) as service:
            time.sleep(bench.pick(5, 10))  # until every edge is up to date and nothing is left of the start
            shares = []
            for _ in range(3):
                before, begun = cpu(service.pid), time.monotonic()
                time.sleep(bench.pick(3, 10))
                shares.append(100 * (cpu(service.pid) - before) / (time.monotonic() - begun))
            held = resident(service.pid)
    few = edges == FEW
    key = "weight.idle" if few else "weight.idle.many"
    return [
        single(
            f"{key}.cpu", f"idle service, {edges:,} edges", "", shares, reach=0.5 if few else None, unit="% of a core"
        ),
        single(
            f"{key}.memory",
            f"idle service, {edges:,} edges, resident memory",
            "",
            [held],
            reach=80 if few else None,
            unit="MB",
        ),
    ]
