"""Prefetch through one cache: objects a second beside wrk driving misses, and bytes that come to the controller."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import uvloop

from bench import caches, inside
from bench.caches import OBJECT_BYTES, Kind, Server, running, target
from bench.harness import Bench, Line, Sample, Unmeasured, compare, interleave, single
from bench.process import cpu
from bench.wrk import get, wrk
from freshline.delivery.pace import Pace
from freshline.domain.edge import Edge
from freshline.domain.task import Kind as Asked
from freshline.domain.task import Wish
from tests.servers.base import SITE, free_port

CONNECTIONS = Pace().fetch_window  #: as many as prefetches are under way on one edge
TASK_ROWS = 100
MISSES_A_SECOND = 60_000  #: more than there ever are, or the rest would be hits
LOOK_SECONDS = 0.005  #: of a round of about one: a thousand looks a second would be a fiftieth of a core
COUNTED = 300  #: objects, for the bytes


def run(bench: Bench) -> list[Line]:
    return [line for kind in caches.kinds() for line in _of(bench, kind)]


def _of(bench: Bench, kind: Kind) -> list[Line]:
    count = bench.pick(1_500, 4_000)
    numbers = itertools.count(0, MISSES_A_SECOND)
    with running(kind) as (server, pid), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        def ours() -> Sample:
            return runner.run(_prefetch(server, pid, next(numbers), count))

        def native() -> Sample:
            first = next(numbers)
            misses = [get(SITE, target(number)) for number in range(first, first + MISSES_A_SECOND)]
            # So many connections to the origin may find no port for another one now and then.
            got = wrk(server.edge.site, misses, seconds=1, connections=CONNECTIONS, pid=pid, may_refuse=True)
            if got.refused > got.requests // 100:
                raise Unmeasured(f"{kind.name} refused {got.refused} of {got.requests}")
            return got.sample()

        got = interleave(bench.pick(2, 5), {"ours": ours, "native": native})
        passed = [runner.run(_bytes(server, next(numbers))) for _ in range(2)]
    return [
        compare(
            f"prefetch.{kind.name}",
            f"objects prefetched through one {kind.name}, log to settled",
            f"wrk driving misses through the same {kind.name}",
            got["ours"],
            got["native"],
            reach=0.8,
        ),
        single(
            f"prefetch.{kind.name}.bytes",
            f"bytes between the controller and {kind.name} for a prefetched object",
            f"headers alone; the object has {OBJECT_BYTES:,}",
            passed,
            reach=2_000,
            unit="bytes",
        ),
    ]


async def _prefetch(server: Server, pid: int, first: int, count: int) -> Sample:
    with tempfile.TemporaryDirectory() as home:
        async with inside.service(Path(home) / "books", [server.edge]) as (made, log):
            await log.append(_wishes(made.account, server.edge, first, count), now=time.time())
            begun, spent, edge = time.perf_counter(), time.process_time(), cpu(pid)
            await inside.settled(log, [server.edge], log.head, LOOK_SECONDS)
            took = time.perf_counter() - begun
            _check(log.progress(server.edge.name))
            more = {"service_cpu_us": (time.process_time() - spent) / count * 1e6}
            return Sample(count / took, (cpu(pid) - edge) / count, more)


async def _bytes(server: Server, first: int) -> float:
    """Everything both ways between the service and the gate, for the objects and what else is said meanwhile."""
    passed = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal passed
        while data := await reader.read(1 << 16):
            passed += len(data)
            writer.write(data)
        writer.close()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = server.edge.gate.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(relay(reader, back), relay(there, writer), return_exceptions=True)

    port = free_port()
    listener = await asyncio.start_server(joined, "127.0.0.1", port)
    edge = replace(server.edge, gate=f"127.0.0.1:{port}")
    with tempfile.TemporaryDirectory() as home:
        async with inside.service(Path(home) / "books", [edge]) as (made, log):
            passed = 0
            await log.append(_wishes(made.account, edge, first, COUNTED), now=time.time())
            await inside.settled(log, [edge], log.head)
            _check(log.progress(edge.name))
            total = passed
    listener.close()
    return total / COUNTED


def _wishes(account: str, edge: Edge, first: int, count: int) -> list[Wish]:
    urls = [f"http://{SITE}{target(number)}" for number in range(first, first + count)]
    tasks = (tuple(urls[at : at + TASK_ROWS]) for at in range(0, count, TASK_ROWS))
    return [Wish(account, SITE, edge.group, Asked.PRELOAD, task) for task in tasks]


def _check(progress: object) -> None:
    assert progress is not None and not getattr(progress, "failed", ()), f"not all were fetched: {progress}"
