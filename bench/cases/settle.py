"""URLs refreshed and proven a second on one cache, from the log to settled, beside wrk sending it native PURGEs.

Both for objects that it has. Ours ends when the cache's gate has answered for the last of them and that is on the disk.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import uvloop

from bench import caches, inside
from bench.caches import Kind, Server, fill, running, target
from bench.harness import Bench, Line, Sample, compare, interleave
from bench.process import cpu
from bench.wrk import get, wrk
from freshline.domain.task import Kind as Asked
from freshline.domain.task import Wish
from tests.servers.base import SITE

TASK_ROWS = 1_000
TIMES = 16  #: each object is refreshed so often in a round, or it would be over too soon
CONNECTIONS = 16


def run(bench: Bench) -> list[Line]:
    return [_of(bench, kind) for kind in caches.kinds()]


def _of(bench: Bench, kind: Kind) -> Line:
    count = caches.objects(bench)
    with running(kind) as (server, pid), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        def ours() -> Sample:
            fill(server, pid, 0, count)
            return runner.run(_refresh(server, pid, count))

        def native() -> Sample:
            fill(server, pid, 0, count)
            purges = [get(SITE, target(number), "PURGE") for number in range(count)]
            got = wrk(server.edge.site, purges, seconds=1, connections=CONNECTIONS, pid=pid, may_refuse=True)
            return got.sample()

        got = interleave(bench.pick(2, 5), {"ours": ours, "native": native})
    return compare(
        f"settle.{kind.name}",
        f"URLs refreshed and proven on one {kind.name}, log to settled",
        f"wrk, native PURGE of existing objects, the same {kind.name}",
        got["ours"],
        got["native"],
        reach=kind.reach,
        unit="URLs/s",
    )


async def _refresh(server: Server, pid: int, count: int) -> Sample:
    urls = [f"http://{SITE}{target(number)}" for number in range(count)] * TIMES
    with tempfile.TemporaryDirectory() as home:
        async with inside.service(Path(home) / "books", [server.edge]) as (made, log):
            wishes = [
                Wish(made.account, SITE, server.edge.group, Asked.FILE, tuple(urls[at : at + TASK_ROWS]))
                for at in range(0, len(urls), TASK_ROWS)
            ]
            await log.append(wishes, now=time.time())
            begun, spent, edge = time.perf_counter(), time.process_time(), cpu(pid)
            await inside.settled(log, [server.edge], log.head, look_seconds=0.01)
            took = time.perf_counter() - begun
            more = {"service_cpu_us": (time.process_time() - spent) / len(urls) * 1e6}
            return Sample(len(urls) / took, (cpu(pid) - edge) / len(urls), more)
