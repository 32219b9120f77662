"""Hits with a million live rules of the same host, beside the same cache and gate with none.

Of few objects, whose answers the gate remembers, and of more than it remembers, so that it looks the rules up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.caches import Kind, Server, fill, running, target
from bench.harness import Bench, Line, Sample, compare, interleave
from bench.wrk import get, wrk
from freshline.domain.action import Command, Verb
from freshline.drivers.base import Applied, Batch
from tests.servers.base import SITE
from tests.servers.nginx import Nginx
from tests.servers.varnish import Varnish

FEW, MANY = 1_000, 20_000
CONNECTIONS = 16
BATCH = 2_000
LOG = "b" * 32


def _nginx(home: Path, origin: Any, gated: bool) -> Server:
    return Nginx(home, origin, gated=gated, settings={"rules_size": "64m"})


def _varnish(home: Path, origin: Any, gated: bool) -> Server:
    return Varnish(home, origin, guarded=gated)


def run(bench: Bench) -> list[Line]:
    return [line for kind in (Kind("nginx", _nginx, 1), Kind("varnish", _varnish, 1)) for line in _of(bench, kind)]


def _of(bench: Bench, kind: Kind) -> Iterator[Line]:
    rules = bench.pick(100_000, 1_000_000)
    with running(kind) as (full, full_pid), running(kind) as (empty, empty_pid):
        asyncio.run(_tell(full, rules))
        asyncio.run(_tell(empty, 0))
        for key, objects in (("", FEW), (".many", MANY)):
            sides = {
                "full": partial(_hits, bench, full, full_pid, objects),
                "empty": partial(_hits, bench, empty, empty_pid, objects),
            }
            for server, pid in ((full, full_pid), (empty, empty_pid)):
                fill(server, pid, 0, objects)
            seen = interleave(bench.rounds, sides)
            what = f"hits of {objects:,} objects in {kind.name}, {rules:,} rules"
            yield compare(
                f"million.{kind.name}{key}", what, "the same without rules", seen["full"], seen["empty"], reach=0.8
            )


def _hits(bench: Bench, server: Server, pid: int, objects: int) -> Sample:
    requests = [get(SITE, target(number)) for number in range(objects)]
    return wrk(server.edge.site, requests, seconds=bench.seconds, connections=CONNECTIONS, pid=pid).sample()


async def _tell(server: Server, rules: int) -> None:
    driver = server.driver()
    assert isinstance(await driver.flush(LOG, 0, LOG), Applied)
    for at in range(0, rules, BATCH):
        some = tuple(Command(n + 1, True, Verb.FILE, SITE, b"/refreshed/%d.jpg" % n) for n in range(at, at + BATCH))
        answer = await driver.apply(Batch(LOG, at, at + BATCH, f"m{at}", at + BATCH >= rules, some))
        assert isinstance(answer, Applied), answer
    await driver.close()
